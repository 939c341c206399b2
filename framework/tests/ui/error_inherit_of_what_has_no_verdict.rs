use postroom::HandlerError;

#[derive(Debug, thiserror::Error, HandlerError)]
enum ConfirmError {
    #[error(transparent)]
    #[on(inherit)]
    Io(#[from] std::io::Error),
}

fn main() {}

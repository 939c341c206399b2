use postroom::HandlerError;

#[derive(Debug, thiserror::Error, HandlerError)]
enum ConfirmError {
    #[error("the shop is closed")]
    Closed,
}

fn main() {}

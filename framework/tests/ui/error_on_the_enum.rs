use postroom::HandlerError;

#[derive(Debug, thiserror::Error, HandlerError)]
#[on(retry)]
enum ConfirmError {
    #[error("the shop is closed")]
    #[on(retry)]
    Closed,
}

fn main() {}

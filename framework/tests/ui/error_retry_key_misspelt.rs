use postroom::HandlerError;

#[derive(Debug, thiserror::Error, HandlerError)]
enum ConfirmError {
    #[error("the shop is closed")]
    #[on(retry(aftr = "5m"))]
    Closed,
}

fn main() {}

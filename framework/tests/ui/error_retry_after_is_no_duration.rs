use postroom::HandlerError;

#[derive(Debug, thiserror::Error, HandlerError)]
enum ConfirmError {
    #[error("the shop is closed")]
    #[on(retry(after = "soon"))]
    Closed,
}

fn main() {}

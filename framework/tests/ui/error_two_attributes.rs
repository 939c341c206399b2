use postroom::HandlerError;

#[derive(Debug, thiserror::Error, HandlerError)]
enum ConfirmError {
    #[error("the shop is closed")]
    #[on(retry)]
    #[on(discard)]
    Closed,
}

fn main() {}

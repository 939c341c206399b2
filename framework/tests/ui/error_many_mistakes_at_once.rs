#[derive(Debug, thiserror::Error, postroom::HandlerError)]
enum ConfirmError {
    #[error("silent")]
    Silent,
    #[error("misspelt")]
    #[on(retri)]
    Misspelt,
    #[error("two")]
    #[on(retry, discard)]
    Two,
    #[error("when")]
    #[on(retry(after = "soon"))]
    When,
    #[error("nothing inside")]
    #[on(inherit)]
    Inherit,
}

fn main() {}

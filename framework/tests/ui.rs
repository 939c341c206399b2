//! What the compiler says of each mistake, kept word for word: the caret must be on the token that is wrong.

#[test]
fn mistakes_are_explained_at_the_wrong_token() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}

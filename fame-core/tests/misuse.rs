//! Wrong uses of `register!` and `export_plugin!` do not compile, and the compiler says what to
//! write instead.

#[test]
fn the_compiler_refuses_and_says_why() {
    trybuild::TestCases::new().compile_fail("tests/misuse/*.rs");
}

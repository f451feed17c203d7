//! Command lines that are nearly right: what was meant is told, with the way there.

use super::*;

/// What is said of a line that is not taken, with its exit code.
fn refused(folder: &Path, line: &[&str], code: i32) -> String {
    let output = fame(folder, line);
    assert_eq!(output.status.code(), Some(code), "{line:?}: {}", stdout(&output));
    flat(&output)
}

#[test]
fn what_was_meant_is_told() {
    let dir = workshop();
    for (line, told) in [
        (&["modle", "list"][..], "'models'"),
        (&["explian", "net.onnx", "a.png"], "'explain'"),
        (&["r.ron"], "fame-cli run r.ron"),
        (&["net.onnx", "a.png"], "fame-cli explain net.onnx PICTURE"),
        (&["explain", "net.onnx", "a.png", "--methd", "Fame"], "'--method'"),
        (
            &["explain", "net.onnx", "a.png", "--layer", "a", "--layer", "b"],
            "'GradCam(layer: \"…\")'",
        ),
        (
            &["explain", "net.onnx", "a.png", "--class", "1", "--class", "2"],
            "one class is explained",
        ),
        (
            &["explain", "net.onnx", "--pair", "a.png", "b.png", "--method", "GradCamm"],
            "did you mean `GradCam`",
        ),
        (
            &["explain", "net.onnx", "--pair", "a.png", "b.png", "--method", "Npy"],
            "`Npy` is a writer",
        ),
    ] {
        let said = refused(dir.path(), line, 2);
        assert!(said.contains(told), "{line:?}: {said}");
    }
    let help = stdout(&fame(dir.path(), &["explain", "--help"]));
    assert!(help.contains("GradCam(layer: \"…\")"), "{help}");
}

/// A folder, a file of another name and one of another kind are no networks, and each is told what
/// it is.
#[test]
fn what_is_no_network_is_told_what_it_is() {
    let dir = workshop();
    let put = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    std::fs::create_dir(dir.path().join("nets")).unwrap();
    let net = std::fs::read(dir.path().join("net.onnx")).unwrap();
    put("nets/one.onnx", &net);
    put("bare", &net);
    put("weights.pt", b"PK\x03\x04");
    put("page.onnx", b"<!DOCTYPE html><title>Not found</title>");
    put("words.onnx", b"words");
    for (model, told) in [
        ("nets", "nets` is a folder"),
        ("./nets", "nets/one.onnx`"),
        ("bare", "Name it NAME.onnx"),
        ("weights.pt", "torch.onnx.export"),
        ("a.png", "The order is: the network, then pictures"),
        ("page.onnx", "a page of the web"),
        ("words.onnx", "not an ONNX model"),
    ] {
        for command in ["explain", "init"] {
            let said = refused(dir.path(), &[command, model, "b.png"], 1);
            assert!(said.contains(told), "{command} {model}: {said}");
        }
    }
}

//! The container image: small, without a shell, and a whole Umbriel on a root that cannot be written.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use umbriel_tests::image::{Image, archive};
use umbriel_tests::{has, is_root};

/// 120 MB, unpacked.
const MAX_BYTES: u64 = 120_000_000;

/// The user that owns nothing else on a node.
const USER: &str = "65532:65532";

/// The unpacked image, or `None` and a word about what is missing on this machine.
fn image(test: &str) -> Option<&'static Image> {
    static UNPACKED: OnceLock<Image> = OnceLock::new();
    let able = is_root(test) && has("buildah", test) && has("mmdebstrap", test);
    able.then(|| UNPACKED.get_or_init(|| Image::unpack(archive())))
}

/// Every file, folder and link below a folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart")
}

#[test]
fn the_image_is_smaller_than_120_mb() {
    let Some(image) = image("the_image_is_smaller_than_120_mb") else { return };
    let size = |path: &PathBuf| path.symlink_metadata().expect("an entry").len();
    let bytes: u64 = entries(&image.root()).iter().map(size).sum();
    eprintln!("the image has {} MB, unpacked", bytes / 1_000_000);
    assert!(bytes < MAX_BYTES, "{bytes} bytes");
}

#[test]
fn the_image_runs_as_a_user_that_is_given_as_a_number() {
    let Some(image) = image("the_image_runs_as_a_user_that_is_given_as_a_number") else { return };
    let config = &image.config["config"];
    assert_eq!(config["User"], USER);
    assert_eq!(config["Entrypoint"], serde_json::json!(["/usr/bin/umbriel"]));
    assert_eq!(config["WorkingDir"], "/var/lib/umbriel");
}

#[test]
fn the_image_holds_two_programs_and_no_shell() {
    let Some(image) = image("the_image_holds_two_programs_and_no_shell") else { return };
    let mut programs = BTreeSet::new();
    for entry in entries(&image.root()) {
        let facts = entry.symlink_metadata().expect("an entry");
        assert_eq!(facts.mode() & 0o6000, 0, "{} changes its user", entry.display());
        let library = entry.to_string_lossy().contains(".so");
        if facts.is_file() && facts.permissions().mode() & 0o111 != 0 && !library {
            let path = entry.strip_prefix(image.root()).expect("a path in the image");
            programs.insert(path.to_string_lossy().into_owned());
        }
    }
    let programs: Vec<_> = programs.iter().map(String::as_str).collect();
    assert_eq!(programs, ["usr/bin/espeak-ng", "usr/bin/umbriel"]);
}

#[test]
fn the_root_of_the_image_cannot_be_written() {
    let Some(image) = image("the_root_of_the_image_cannot_be_written") else { return };
    let speak = |file: &str| {
        let words = ["/usr/bin/espeak-ng", "-v", "en-us", "-w", file, "Hello."];
        let spoken = image.command(&example(), &words).output().expect("unshare runs");
        String::from_utf8_lossy(&spoken.stderr).into_owned()
    };
    assert_eq!(speak("/tmp/hello.wav"), "");
    assert!(speak("/usr/hello.wav").contains("Can't write to: '/usr/hello.wav'"));
}

#[test]
fn a_message_is_left_and_delivered_inside_of_the_image() {
    let Some(image) = image("a_message_is_left_and_delivered_inside_of_the_image") else { return };
    let mut up =
        image.command(&example(), &["/usr/bin/umbriel", "up", "/site", "--state", "/var/lib/umbriel"]);
    up.args(["--address", "127.0.1.60", "--admin", "127.0.1.60:9060", "--call", "101", "--once"]);
    let output = up.output().expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("302 "), "{said}");
}

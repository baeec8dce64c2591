//! What can go wrong with a program and its folder alone. What goes wrong in every world is in the
//! list of scenarios.

use std::time::Duration;

use umbriel_tests::phone::Phone;
use umbriel_tests::wire::{Invite, Wire};
use umbriel_tests::{House, Site as _, audio, is_root, wait_until};

fn invite(called: &'static str, call_id: &'static str) -> Invite<'static> {
    Invite { called, diverting: None, call_id }
}

/// A good call is still redirected.
fn still_serves(house: &House, call_id: &'static str) {
    let wire = Wire::new(house.caller(), house.router());
    let answer = wire.invite(&invite("101", call_id));
    assert!(answer.starts_with("SIP/2.0 302 "), "a good call is redirected: {answer}");
}

fn refused(answer: &str, status: u16, code: &str) {
    assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{status}: {answer}");
    let reason = answer.lines().find(|line| line.starts_with("Reason: ")).unwrap_or_default();
    assert!(reason.contains(code), "the Reason names {code}: {answer}");
}

#[test]
fn a_malformed_file_is_named_with_its_line_and_the_last_good_one_serves() {
    let house = House::builder().start();
    house.write("alice.yaml", "apiVersion: umbriel.dev/v1alpha1\nkind: UMMailbox\nmetadata: [broken\n");
    house.wait_until_logged("UM1001");
    assert!(house.logged().contains("alice.yaml:"), "{}", house.logged());
    still_serves(&house, "malformed");
}

#[test]
fn a_value_out_of_range_is_explained_and_the_last_good_object_serves() {
    let house = House::builder().start();
    let plan = "apiVersion: umbriel.dev/v1alpha1\nkind: UMDialPlan\nmetadata:\n  name: contoso\nspec:\n  \
                numberOfDigitsInExtension: 3\n  recordingIdleTimeout: 99\n";
    house.write("dialplan.yaml", plan);
    house.wait_until_logged("UM1006");
    let log = house.logged();
    for part in ["dialplan.yaml:7", "recordingIdleTimeout", "99", "2 to 10"] {
        assert!(log.contains(part), "{part} is missing: {log}");
    }
    still_serves(&house, "range");
}

/// A tmpfs of a few hundred kilobytes as the state folder, filled to its last byte during a call.
#[test]
fn a_full_disk_refuses_new_calls_and_keeps_what_was_recorded() {
    if !is_root("a_full_disk_refuses_new_calls_and_keeps_what_was_recorded") {
        return;
    }
    let disk = SmallDisk::mount();
    let house = House::builder().state(disk.path()).start();
    let mut phone = Phone::call(&house, "101", 5);
    phone.speak_through_the_greeting();
    phone.speak(Duration::from_secs(2));
    let said = phone.said().len();
    disk.fill();
    phone.speak(Duration::from_secs(2));
    house.wait_until_logged("UM1203");
    let wire = Wire::new(house.caller(), house.mailbox_server());
    refused(&wire.invite(&invite("101", "disk-full")), 503, "UM1122");
    assert_eq!(
        house.get("/readyz").map(|(status, _)| status),
        Some(503),
        "not ready while nothing can be stored"
    );
    still_serves(&house, "disk-full-router");

    disk.empty();
    umbriel_tests::wait_until("calls are taken again", Duration::from_secs(10), || {
        (house.get("/readyz")?.0 == 200).then_some(())
    });
    let mails = house.wait_for_mails(1);
    let mail =
        mails.iter().find(|mail| mail.call_id == phone.call_id).expect("the message that was interrupted");
    let start = audio::find(phone.said(), &mail.audio.data).expect("one piece of what was said");
    let kept = start + mail.audio.data.len();
    assert!(kept + 8 * 800 >= said, "kept up to sample {kept}, said {said} before the disk was full");
}

struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> SmallDisk {
        let folder = tempfile::Builder::new().prefix("umbriel-disk-").tempdir().expect("a folder");
        let none: Option<&str> = None;
        nix::mount::mount(none, folder.path(), Some("tmpfs"), nix::mount::MsFlags::empty(), Some("size=4m"))
            .expect("a tmpfs is mounted");
        SmallDisk { folder }
    }

    fn path(&self) -> &std::path::Path {
        self.folder.path()
    }

    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.folder.path().join("filler")).expect("a file");
        // Down to single bytes, until the last one is refused.
        for size in [65_536, 1024, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.folder.path().join("filler")).expect("the filler is removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached, so that a file that is still open does not keep the mount.
        let _ = nix::mount::umount2(self.folder.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn whoever_calls_while_umbriel_ends_gets_one_clear_503_and_the_call_before_is_kept() {
    let mut house = House::builder().start();
    let mut phone = Phone::call(&house, "101", 5);
    phone.speak_through_the_greeting();
    phone.speak(Duration::from_secs(1));
    house.ask_to_end();
    let wire = Wire::new(house.caller(), house.router());
    wait_until("the router drains", Duration::from_secs(10), || {
        let (status, page) = house.get("/readyz")?;
        assert_eq!(status, 200, "no probe fails while it drains: {page}");
        page.contains("router ok, but is draining").then_some(())
    });
    let answer = wire.invite(&invite("101", "late"));
    refused(&answer, 503, "UM1105");
    assert!(answer.contains("\r\nRetry-After: "), "{answer}");
    phone.hang_up();
    assert_eq!(house.wait_for_end(), Some(0));
    assert_eq!(house.wait_for_mails(1).len(), 1);
}

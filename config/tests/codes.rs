//! Every code has its page and every page its code.
//!
//! Decides the form of `docs/codes`. What the pages say is up to people; `UPDATE_GOLDEN=1` writes
//! the index from the list of codes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use umbriel_config::{Area, Code};

/// The parts of a page, in their order.
const PARTS: [&str; 3] = ["## What it means", "## What you see", "## What to do"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/codes")
}

fn page(code: Code) -> String {
    let path = folder().join(format!("{}.md", code.id()));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn index() -> String {
    let mut index = "# Codes\n\n\
        Everything that Umbriel refuses, reports or cannot do has one stable code. Responses, logs, metrics,\n\
        conditions and commands carry the same one. A number is never used for anything else.\n"
        .to_owned();
    let areas = [
        (Area::Configuration, "Configuration", "What a person or a program wrote cannot be served as it is."),
        (Area::Call, "Calls", "A SIP request was refused, with the status beside the code."),
        (Area::Connection, "Connections", "A connection was refused before a request came by it."),
        (Area::Server, "Servers", "Something in a server or around it is at fault."),
    ];
    for (area, title, means) in areas {
        write!(index, "\n## {title}\n\n{means}\n\n").expect("a String takes every text");
        index += if area == Area::Call {
            "| code | name | SIP | means |\n|---|---|---|---|\n"
        } else {
            "| code | name | means |\n|---|---|---|\n"
        };
        for code in Code::ALL.iter().filter(|code| code.area() == area) {
            let (id, name, summary) = (code.id(), code.name(), code.summary());
            let status = if area == Area::Call { format!(" {} |", code.sip_status()) } else { String::new() };
            writeln!(index, "| [{id}]({id}.md) | {name} |{status} {summary} |")
                .expect("a String takes every text");
        }
    }
    index
}

#[test]
fn numbers_are_in_order_and_in_their_hundred() {
    for pair in Code::ALL.windows(2) {
        assert!(pair[0].number() < pair[1].number(), "{} before {}", pair[0], pair[1]);
    }
    for code in Code::ALL {
        let hundred = match code.area() {
            Area::Configuration => 10,
            Area::Call | Area::Connection => 11,
            Area::Server => 12,
        };
        assert_eq!(code.number() / 100, hundred, "{code}");
        assert_eq!(code.id(), format!("UM{}", code.number()));
    }
}

#[test]
fn codes_of_calls_carry_a_final_refusing_status_and_no_others_do() {
    for code in Code::ALL {
        let status = code.sip_status();
        match code.area() {
            Area::Call => assert!((400..700).contains(&status), "{code}"),
            Area::Configuration | Area::Connection | Area::Server => assert_eq!(status, 0, "{code}"),
        }
        assert_eq!(code.retry_after_s(), (status == 503).then_some(30), "{code}");
    }
}

#[test]
fn a_code_is_written_one_way() {
    assert_eq!(Code::UnknownPeer.to_string(), "UM1102 UnknownPeer");
    assert_eq!(Code::UnknownPeer.summary(), "The peer is no gateway of ours.");
}

#[test]
fn there_is_one_page_for_each_code_and_no_other() {
    let pages: BTreeSet<String> = fs::read_dir(folder())
        .expect("docs/codes")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    let mut expected: BTreeSet<String> = Code::ALL.iter().map(|code| format!("{}.md", code.id())).collect();
    expected.insert("README.md".to_owned());
    assert_eq!(pages, expected);
}

#[test]
fn every_page_says_what_the_code_means_what_is_seen_and_what_to_do() {
    for code in Code::ALL {
        let page = page(*code);
        let head = format!("# {code}\n\n{}\n\n", code.summary());
        assert!(page.starts_with(&head), "{code}: the page must begin with\n{head}");
        let places = PARTS.map(|part| page.find(&format!("\n{part}\n")));
        assert!(places.is_sorted() && places[0].is_some(), "{code}: {PARTS:?} in this order");
        assert!(page.contains("\n    "), "{code}: an example");
        assert!((12..=50).contains(&page.lines().count()), "{code}: {} lines", page.lines().count());
        if code.area() == Area::Call {
            assert!(page.contains(&format!("SIP/2.0 {} ", code.sip_status())), "{code}: the status line");
            assert_eq!(page.contains("Retry-After: 30"), code.sip_status() == 503, "{code}: Retry-After");
        }
    }
}

#[test]
fn pages_name_only_codes_that_exist() {
    for code in Code::ALL {
        for (place, _) in page(*code).match_indices("UM1") {
            let id: String = page(*code)[place..].chars().take_while(char::is_ascii_alphanumeric).collect();
            assert!(Code::ALL.iter().any(|known| known.id() == id), "{code}: {id}");
        }
    }
}

#[test]
fn the_index_lists_every_code() {
    let path = folder().join("README.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, index()).expect("the index");
    }
    let written = fs::read_to_string(&path).expect("the index");
    assert_eq!(written, index(), "run `UPDATE_GOLDEN=1 cargo test -p umbriel-config --test codes`");
}

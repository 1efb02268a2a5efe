//! The rules of the house that a compiler does not know: floors, purity, importers, pages, layout.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Lines of a Rust file; above, it is no longer one room.
const FILE_LINES_MAX: usize = 700;

/// Floors of the spine; a crate imports only from floors below its own. Side pillars stand beside it.
const FLOORS: &[(&str, u8)] = &[
    ("fuda-core", 0),
    ("fuda-crypto", 1),
    ("fuda-policy", 1),
    ("fuda-ledger", 2),
    ("fuda-state", 3),
    ("fuda-storage", 4),
    ("fuda-consensus", 5),
    ("fuda-vault", 6),
];
/// What a side pillar may import of ours.
const PILLARS: &[(&str, &[&str])] = &[
    ("fuda-proto", &[]),
    ("fuda-identity", &["fuda-core", "fuda-crypto"]),
    ("fuda-runtime", &["fuda-core", "fuda-identity"]),
    ("fuda-custodian", &["fuda-core", "fuda-crypto"]),
    ("fuda-client", &["fuda-core", "fuda-crypto", "fuda-proto", "fuda-runtime"]),
    ("fuda-wire", &["fuda-core", "fuda-ledger", "fuda-proto"]),
    ("fuda-report", &["fuda-core", "fuda-ledger", "fuda-policy"]),
];
/// Programs at the top, which nobody imports.
const PROGRAMS: &[&str] = &["fuda-audit", "fuda-cli", "fuda-load", "fuda-vault"];
/// Crates that know no async, clock or network.
const PURE: &[&str] =
    &["fuda-core", "fuda-crypto", "fuda-identity", "fuda-policy", "fuda-ledger", "fuda-state", "fuda-report"];
/// Each of these has few importers among our crates.
const IMPORTERS: &[(&str, &[&str])] = &[
    ("openraft", &["fuda-consensus"]),
    ("raft-log", &["fuda-consensus"]),
    ("rocksdb", &["fuda-storage"]),
    ("hpke", &["fuda-crypto"]),
    ("ring", &["fuda-crypto"]),
    ("rusqlite", &["fuda-audit"]),
    ("zstd", &["fuda-audit", "fuda-vault", "fuda-load"]),
];
const TOP_LEVEL: &[&str] =
    &["Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "services", "proto", "deploy", "helm", "load-tests", "docs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Our crates and what they import in shipped code (dev-dependencies are no imports).
fn imports(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .filter(|package| members.contains(package["id"].as_str().unwrap()))
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
            let names = normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect();
            (package["name"].as_str().unwrap().to_owned(), names)
        })
        .collect()
}

#[test]
fn imports_point_down() {
    let imports = imports(&metadata());
    let floors: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    let pillars: BTreeMap<&str, &[&str]> = PILLARS.iter().copied().collect();
    for (name, dependencies) in &imports {
        let ours: Vec<&str> =
            dependencies.iter().map(String::as_str).filter(|name| name.starts_with("fuda-")).collect();
        for dependency in &ours {
            assert!(!PROGRAMS.contains(dependency), "{name} imports the program {dependency}");
        }
        if PROGRAMS.contains(&name.as_str()) {
            continue;
        }
        if let Some(allowed) = pillars.get(name.as_str()) {
            for dependency in ours {
                assert!(allowed.contains(&dependency), "the pillar {name} imports {dependency}");
            }
            continue;
        }
        let floor = floors.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no floor: give it one"));
        for dependency in ours {
            match floors.get(dependency) {
                Some(below) => assert!(below < floor, "{name} imports {dependency}, which is not below it"),
                // Only the floors that touch the outside may lean on a pillar.
                None => assert!(*floor >= 5, "{name} leans on the pillar {dependency}"),
            }
        }
    }
    let known: BTreeSet<&str> = floors.keys().chain(pillars.keys()).chain(PROGRAMS).copied().collect();
    let found: BTreeSet<&str> = imports.keys().map(String::as_str).collect();
    assert_eq!(known, found, "the crates of the house and the list here differ");
}

#[test]
fn pure_crates_reach_no_runtime() {
    let metadata = metadata();
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["id"].as_str().unwrap(), node))
        .collect();
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package["name"].as_str().unwrap()))
        .collect();
    for pure in PURE {
        let start = names.iter().find(|(_, name)| name == &pure).map(|(id, _)| *id).unwrap();
        let (mut reached, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(id) = next.pop() {
            if !reached.insert(id) {
                continue;
            }
            for dependency in nodes[id]["deps"].as_array().unwrap() {
                let kinds = dependency["dep_kinds"].as_array().unwrap();
                if kinds.iter().any(|kind| kind["kind"].is_null()) {
                    next.push(dependency["pkg"].as_str().unwrap());
                }
            }
        }
        for banned in ["tokio", "tonic", "openraft", "rocksdb", "opentelemetry"] {
            assert!(!reached.iter().any(|id| names[id] == banned), "{pure} reaches {banned}");
        }
    }
}

#[test]
fn sharp_libraries_have_their_importers() {
    for (name, dependencies) in imports(&metadata()) {
        for (library, importers) in IMPORTERS {
            assert!(!dependencies.contains(*library) || importers.contains(&name.as_str()), "{name} imports {library}");
        }
    }
}

#[test]
fn planted_bugs_are_no_default() {
    for package in metadata()["packages"].as_array().unwrap() {
        if package["name"].as_str().unwrap().starts_with("fuda-") {
            let features = package["features"].as_object().unwrap();
            assert!(!features.contains_key("default"), "{} has default features", package["name"]);
        }
    }
}

#[test]
fn every_error_code_has_its_page_and_every_page_its_code() {
    let expected: BTreeSet<String> = fuda_core::Code::ALL.iter().map(|code| code.docs_page().to_owned()).collect();
    let found: BTreeSet<String> = fs::read_dir(root().join("docs/src/errors"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("FUDA-"))
        .map(|name| format!("docs/src/errors/{name}"))
        .collect();
    assert_eq!(expected, found);
    for code in fuda_core::Code::ALL {
        let page = fs::read_to_string(root().join(code.docs_page())).unwrap();
        assert!(
            page.contains(code.id()) && page.contains(code.reason()),
            "{} does not name its code",
            code.docs_page()
        );
    }
}

/// What a page links to: the target before and behind the `#`. Links to elsewhere are left out, as is code.
fn links(text: &str) -> Vec<(String, String)> {
    let mut code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        code ^= line.trim_start().starts_with("```");
        if code {
            continue;
        }
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !target.contains("://") && !target.starts_with("mailto:") && !target.contains(' ') {
                let (page, anchor) = target.split_once('#').unwrap_or((target, ""));
                found.push((page.to_owned(), anchor.to_owned()));
            }
        }
    }
    found
}

/// The anchors of a page's headings, as mdBook and GitHub make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            words.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
        })
        .collect()
}

#[test]
fn links_and_anchors_are_seen() {
    let text = "## A *b*, `c` d\n[x](y.md#a-b-c-d) [z](https://fuda.example) `\n```sh\n[no](no.md)\n```\n";
    assert_eq!(links(text), [("y.md".to_owned(), "a-b-c-d".to_owned())]);
    assert!(anchors(text).contains("a-b-c-d"));
}

#[test]
fn links_between_pages_resolve() {
    let mut broken = Vec::new();
    let mut pages = vec![root().join("README.md")];
    files(&root().join("docs"), "md", &mut pages);
    files(&root().join(".github"), "md", &mut pages);
    for page in pages {
        for (target, anchor) in links(&fs::read_to_string(&page).unwrap()) {
            let path = if target.is_empty() { page.clone() } else { page.parent().unwrap().join(&target) };
            let resolves = match anchor.as_str() {
                "" => path.exists(),
                anchor => fs::read_to_string(&path).is_ok_and(|text| anchors(&text).contains(anchor)),
            };
            if !resolves {
                broken.push(format!("{}: {target}#{anchor}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// mdBook renders the pages of the summary and no others, and nothing of a link that leaves the book.
#[test]
fn the_book_has_every_page_once_and_links_only_to_itself() {
    let book = root().join("docs/src");
    let listed: Vec<PathBuf> = links(&fs::read_to_string(book.join("SUMMARY.md")).unwrap())
        .into_iter()
        .map(|(page, _)| book.join(page))
        .collect();
    let once: BTreeSet<&PathBuf> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "a page stands twice in the summary");
    let mut pages = Vec::new();
    files(&book, "md", &mut pages);
    for page in pages.iter().filter(|page| !page.ends_with("SUMMARY.md")) {
        assert!(once.contains(page), "{} is not in the summary", page.display());
        for (target, _) in links(&fs::read_to_string(page).unwrap()) {
            let path = if target.is_empty() { page.clone() } else { page.parent().unwrap().join(&target) };
            let inside = fs::canonicalize(&path).is_ok_and(|path| path.starts_with(fs::canonicalize(&book).unwrap()));
            assert!(inside, "{}: {target} is outside the book", page.display());
            // mdBook renders such a page as index.html and leaves links to it as they are.
            assert!(!path.ends_with("README.md"), "{}: {target} would not resolve", page.display());
        }
    }
}

#[test]
fn rust_files_are_one_room() {
    let mut sources = Vec::new();
    for folder in ["services", "proto", "load-tests"] {
        files(&root().join(folder), "rs", &mut sources);
    }
    assert!(sources.len() > 50, "the walk finds the sources");
    for source in sources {
        let lines = fs::read_to_string(&source).unwrap().lines().count();
        assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines", source.display());
    }
}

#[test]
fn alert_rules_ask_for_metrics_that_exist() {
    let page = fs::read_to_string(root().join("docs/src/reference/metrics.md")).unwrap();
    let mut rules = Vec::new();
    files(&root().join("deploy/alerts"), "yml", &mut rules);
    assert!(!rules.is_empty(), "the walk finds the rules");
    for rule in rules {
        let text = fs::read_to_string(&rule).unwrap();
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        for metric in words.filter(|word| word.starts_with("fuda_")) {
            assert!(page.contains(&format!("`{metric}`")), "{}: `{metric}` is not on the page", rule.display());
        }
    }
}

#[test]
fn the_top_level_is_the_agreed_one() {
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let agreed = name.starts_with('.') || name == "target" || TOP_LEVEL.contains(&name.as_str());
        assert!(agreed, "`{name}` does not belong at the top level");
    }
}

fn files(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with("book") {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

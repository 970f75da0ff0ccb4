//! Tests that modules depend on each other only in the direction that `ARCHITECTURE.md` describes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
    found
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules in the order of `lib.rs`.
fn order() -> Vec<String> {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned)).collect()
}

/// The crate's modules that a file names.
fn used(text: &str) -> Vec<String> {
    let names = text.split("crate::").skip(1);
    let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let mut modules: Vec<String> = names.clone().map(name).filter(|name| !name.is_empty()).collect();
    for list in names.filter_map(|rest| rest.strip_prefix('{')).filter_map(|rest| rest.split('}').next()) {
        modules.extend(list.split(',').map(|item| name(item.trim())));
    }
    modules
}

#[test]
fn a_module_uses_only_those_above_it() {
    let order = order();
    let place = |module: &str| order.iter().position(|known| known == module);
    for file in sources(&source()) {
        let relative = file.strip_prefix(source()).unwrap();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let Some(own) = place(module) else { continue };
        let text = fs::read_to_string(&file).unwrap();
        for other in used(&text) {
            let Some(at) = place(&other) else { continue };
            assert!(at <= own, "{} uses {other}, which comes after {module}", relative.display());
        }
    }
}

/// The first names behind each `prefix::` of a text, lists in braces included.
fn names_behind(text: &str, prefix: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices(prefix) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &text[at + prefix.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let (mut depth, mut item) = (0, String::new());
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.insert(word(item.trim()));
                    item.clear();
                    continue;
                }
                _ => {}
            }
            item.push(c);
        }
        names.insert(word(item.trim()));
    }
    names.remove("");
    names
}

/// Which parts of a folder use which others: its files and folders by name, `mod` for `mod.rs`.
fn uses_within(folder: &Path, module: &str) -> BTreeMap<String, BTreeSet<String>> {
    let part = |file: &Path| {
        let first = file.strip_prefix(folder).unwrap().iter().next().unwrap();
        first.to_str().unwrap().trim_end_matches(".rs").to_owned()
    };
    let files = sources(folder);
    let parts: BTreeSet<String> = files.iter().map(|file| part(file)).collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in &files {
        let own = part(file);
        let text = fs::read_to_string(file).unwrap();
        // A test may look at whatever it likes.
        let text = text.split("#[cfg(test)]").next().unwrap();
        let depth = file.strip_prefix(folder).unwrap().iter().count() - usize::from(file.ends_with("mod.rs"));
        let names = if own == "mod" {
            parts.iter().filter(|part| text.contains(&format!("{part}::"))).cloned().collect()
        } else {
            let mut names = names_behind(text, &format!("crate::{module}::"));
            names.extend(names_behind(text, &"super::".repeat(depth)));
            names
        };
        for name in names.into_iter().filter(|name| name != "super") {
            let other = if parts.contains(&name) { name } else { "mod".to_owned() };
            if other != own {
                uses.entry(own.clone()).or_default().insert(other);
            }
        }
    }
    uses
}

/// A circle of parts that use each other, if there is one.
fn circle(uses: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk(
        at: &str,
        uses: &BTreeMap<String, BTreeSet<String>>,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(begin) = path.iter().position(|part| part == at) {
            return Some(path[begin..].to_vec());
        }
        if !done.contains(at) {
            path.push(at.to_owned());
            for next in uses.get(at).into_iter().flatten() {
                if let Some(found) = walk(next, uses, path, done) {
                    return Some(found);
                }
            }
            path.pop();
            done.insert(at.to_owned());
        }
        None
    }
    let (mut path, mut done) = (Vec::new(), BTreeSet::new());
    uses.keys().find_map(|part| walk(part, uses, &mut path, &mut done))
}

#[test]
fn no_files_of_a_folder_use_each_other_in_a_circle() {
    for module in ["change", "decide", "edge", "edge/gate", "http", "ws", "ws/client", "routes"] {
        let uses = uses_within(&source().join(module), &module.replace('/', "::"));
        assert!(!uses.is_empty(), "{module} was looked at");
        assert_eq!(circle(&uses), None, "in src/{module}");
    }
    // What the test would find: a file that uses `mod.rs`, which uses the file.
    let both = |one: &str, other: &str| (one.to_owned(), BTreeSet::from([other.to_owned()]));
    assert!(circle(&BTreeMap::from([both("mod", "kill"), both("kill", "mod")])).is_some());
    assert!(names_behind("use super::{Client, kill::{self, x}};", "super::").contains("kill"));
}

/// The modules of one folder that a file of it names after `super::`, one level up or two.
fn siblings(text: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for rest in text.split("super::").skip(1) {
        match rest.strip_prefix('{') {
            None => names.push(word(rest)),
            // Nested braces hold items of a module, and those are no modules of this folder.
            Some(list) => {
                let mut depth = 0;
                let mut item = String::new();
                for c in list.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => names.push(word(std::mem::take(&mut item).trim())),
                        _ if depth == 0 => item.push(c),
                        _ => {}
                    }
                }
                names.push(word(item.trim()));
            }
        }
    }
    names
}

#[test]
fn the_command_lines_modules_use_each_other_in_one_direction() {
    let folder = source().join("cli");
    let module = |file: &Path| {
        let first = file.strip_prefix(&folder).unwrap().iter().next().unwrap().to_str().unwrap();
        first.trim_end_matches(".rs").to_owned()
    };
    let mut arrows: std::collections::BTreeMap<String, Vec<String>> = Default::default();
    for file in sources(&folder) {
        let text = fs::read_to_string(&file).unwrap();
        // Neither tests nor comments make an arrow.
        let product = text.split("#[cfg(test)]").next().unwrap();
        let code: String = product.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        arrows.entry(module(&file)).or_default().extend(siblings(&code));
    }
    arrows.remove("mod");
    assert!(arrows["ls"].contains(&"sessions".to_owned()), "the arrows are found: {arrows:?}");
    // Modules without an arrow to another are taken away, until none is left or all that are left are in a circle.
    loop {
        let left: Vec<String> = arrows.keys().cloned().collect();
        let count = left.len();
        arrows.retain(|own, used| used.iter().any(|other| other != own && left.contains(other)));
        if arrows.len() == count {
            break;
        }
    }
    assert!(arrows.is_empty(), "these use each other in a circle: {:?}", arrows.keys());
}

#[test]
fn http_and_the_sockets_do_not_know_each_other() {
    for (folder, other) in [("http", "ws"), ("ws", "http")] {
        for file in sources(&source().join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(!used(&text).iter().any(|module| module == other), "{} uses {other}", file.display());
        }
    }
}

#[test]
fn sql_stands_only_in_the_backends() {
    for file in sources(&source()) {
        if file.starts_with(source().join("backend/sqlite")) || file.starts_with(source().join("backend/postgres")) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for word in ["rusqlite::", "INSERT ", "SELECT ", "PRAGMA "] {
            assert!(!text.contains(word), "{} has {word:?}", file.display());
        }
    }
}

#[test]
fn the_command_line_and_the_demo_do_not_use_the_servers_modules() {
    for folder in ["cli", "demo"] {
        for file in sources(&source().join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            for inside in ["monitor", "registry", "backend", "feed", "decide", "server"] {
                let direct = format!("use crate::{inside}::");
                assert!(!text.contains(&direct), "{} knows {inside}", file.display());
            }
        }
    }
}

#[test]
fn the_map_names_every_module() {
    let map = fs::read_to_string(source().with_file_name("ARCHITECTURE.md")).unwrap();
    for module in order() {
        let named = [format!("`{module}`"), format!("`{module}/`")].iter().any(|name| map.contains(name.as_str()));
        assert!(named, "ARCHITECTURE.md does not have {module}");
    }
}

//! The direction of the arrows: who may know whom. `ARCHITECTURE.md` says it in words.

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
            // The route table names the sockets' handlers; everything else of theirs stays below.
            let table = relative == Path::new("http/mod.rs") && other == "ws";
            assert!(at <= own || table, "{} uses {other}, which comes after {module}", relative.display());
        }
    }
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
fn sql_stands_only_in_the_sqlite_backend() {
    for file in sources(&source()) {
        if file.starts_with(source().join("backend/sqlite")) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for word in ["rusqlite::", "INSERT ", "SELECT ", "PRAGMA "] {
            assert!(!text.contains(word), "{} has {word:?}", file.display());
        }
    }
}

#[test]
fn the_command_line_and_the_demo_do_not_know_the_servers_inside() {
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
        assert!(named, "ARCHITECTURE.md does not tell of {module}");
    }
}

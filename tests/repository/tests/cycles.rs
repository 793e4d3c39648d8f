//! No file of a crate uses another one that uses it, directly or through others.
//!
//! What counts is `use`. A module that declares a child, or re-exports it (`pub use`), does not use
//! it. Tests inside a file do not count either.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, Item, UseTree, Visibility};

/// The sources whose files are looked at.
const CRATES: [&str; 6] =
    ["src", "relay/src", "cli/src", "ffi/src", "bindings/python/src", "bindings/emacs/src"];

/// The file of each module, by its path from the crate's root.
type Modules = BTreeMap<Vec<String>, PathBuf>;

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

/// Finds the modules that a file declares, and theirs.
fn find_modules(file: &Path, folder: &Path, path: &[String], modules: &mut Modules) {
    modules.insert(path.to_vec(), file.to_owned());
    for item in syn::parse_file(&fs::read_to_string(file).unwrap()).unwrap().items {
        let Item::Mod(module) = item else { continue };
        if module.content.is_some() || is_test(&module.attrs) {
            continue;
        }
        let name = module.ident.to_string();
        let (alone, with_children) =
            (folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs"));
        let found = if alone.is_file() { alone } else { with_children };
        assert!(found.is_file(), "{}: no file of the module {name}", file.display());
        let path: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
        find_modules(&found, &folder.join(name), &path, modules);
    }
}

/// Every path that a `use` names.
fn paths(tree: &UseTree, before: &[String], found: &mut Vec<Vec<String>>) {
    let with = |name: &syn::Ident| {
        before.iter().cloned().chain([name.to_string()]).collect::<Vec<String>>()
    };
    match tree {
        UseTree::Path(path) => paths(&path.tree, &with(&path.ident), found),
        UseTree::Group(group) => group.items.iter().for_each(|tree| paths(tree, before, found)),
        UseTree::Name(name) => found.push(with(&name.ident)),
        UseTree::Rename(rename) => found.push(with(&rename.ident)),
        UseTree::Glob(_) => found.push(before.to_vec()),
    }
}

/// The module that a path of this module leads to; `None` for another crate.
fn module_of(path: &[String], here: &[String], modules: &Modules) -> Option<Vec<String>> {
    let (mut at, mut rest) = match path.first()?.as_str() {
        "crate" => (Vec::new(), &path[1..]),
        "self" => (here.to_vec(), &path[1..]),
        "super" => (here[..here.len().checked_sub(1)?].to_vec(), &path[1..]),
        // A child, by its name alone.
        name if modules.contains_key(&[here, &[name.to_owned()]].concat()) => (here.to_vec(), path),
        _ => return None,
    };
    while let Some(name) = rest.first() {
        if name == "super" {
            at.pop();
        } else if modules.contains_key(&[at.as_slice(), std::slice::from_ref(name)].concat()) {
            at.push(name.clone());
        } else if name != "self" {
            break;
        }
        rest = &rest[1..];
    }
    Some(at)
}

/// The modules that a module uses.
fn uses(module: &[String], file: &Path, modules: &Modules) -> BTreeSet<Vec<String>> {
    let mut used = BTreeSet::new();
    for item in syn::parse_file(&fs::read_to_string(file).unwrap()).unwrap().items {
        let Item::Use(item) = item else { continue };
        if is_test(&item.attrs) {
            continue;
        }
        let mut found = Vec::new();
        paths(&item.tree, &[], &mut found);
        for path in found {
            let Some(target) = module_of(&path, module, modules) else { continue };
            let is_child = target.len() > module.len() && target.starts_with(module);
            let is_exported = !matches!(item.vis, Visibility::Inherited);
            if target != module && !(is_child && is_exported) {
                used.insert(target);
            }
        }
    }
    used
}

/// A way from a module back to itself.
fn way_back(
    from: &[String],
    to: &[String],
    graph: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>,
    seen: &mut BTreeSet<Vec<String>>,
) -> Option<Vec<String>> {
    for next in graph.get(from).into_iter().flatten() {
        if next == to {
            return Some(vec![next.join("::")]);
        }
        if seen.insert(next.clone())
            && let Some(mut way) = way_back(next, to, graph, seen)
        {
            way.insert(0, next.join("::"));
            return Some(way);
        }
    }
    None
}

#[test]
fn no_file_is_used_by_a_file_that_it_uses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut cycles = Vec::new();
    for folder in CRATES {
        let folder = root.join(folder);
        let main = ["lib.rs", "main.rs"].map(|name| folder.join(name));
        let main = main.iter().find(|file| file.is_file()).unwrap();
        let mut modules = Modules::new();
        find_modules(main, &folder, &[], &mut modules);
        let graph: BTreeMap<_, _> =
            modules.iter().map(|(path, file)| (path.clone(), uses(path, file, &modules))).collect();
        for module in modules.keys() {
            if let Some(way) = way_back(module, module, &graph, &mut BTreeSet::new()) {
                cycles.push(format!(
                    "{}: {} -> {}",
                    folder.display(),
                    module.join("::"),
                    way.join(" -> ")
                ));
            }
        }
    }
    assert!(cycles.is_empty(), "{}", cycles.join("\n"));
}

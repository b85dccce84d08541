//! Everything that is declared here against the table of facts (rule S1).

use illumos_sys_hdrs::{CONSTANTS, DEPENDENCIES, LAYOUTS, PARTS, STRINGS};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
struct Facts {
    structs: BTreeMap<String, Struct>,
    constants: BTreeMap<String, Value>,
    functions: BTreeMap<String, Function>,
}

#[derive(Deserialize)]
struct Struct {
    size: usize,
    align: usize,
    fields: BTreeMap<String, (usize, usize)>,
}

#[derive(Deserialize)]
struct Function {
    module: String,
    prototype: String,
}

fn facts() -> Facts {
    serde_json::from_str(include_str!("../facts.json")).unwrap()
}

#[test]
fn structs_have_every_field_where_the_headers_have_it() {
    let facts = facts();
    for (name, size, align, fields) in LAYOUTS {
        let fact = &facts.structs[*name];
        assert_eq!((*size, *align), (fact.size, fact.align), "{name}");
        assert_eq!(fields.len(), fact.fields.len(), "{name}: other fields");
        for (field, offset, size) in *fields {
            assert_eq!(fact.fields[*field], (*offset, *size), "{name}.{field}");
        }
    }
    for (name, fields) in PARTS {
        for (field, offset, size) in *fields {
            let fact = &facts.structs[*name].fields;
            assert_eq!(fact[*field], (*offset, *size), "{name}.{field}");
        }
    }
    assert_eq!(LAYOUTS.len() + PARTS.len(), facts.structs.len());
}

#[test]
fn constants_have_the_headers_values() {
    let facts = facts();
    for (name, value) in CONSTANTS {
        assert_eq!(facts.constants[*name].as_i64(), Some(*value), "{name}");
    }
    for (name, value) in STRINGS {
        let value = value.to_str().unwrap();
        assert_eq!(facts.constants[*name].as_str(), Some(value), "{name}");
    }
    assert_eq!(CONSTANTS.len() + STRINGS.len(), facts.constants.len());
}

/// What of a type the calling convention cares about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Nothing,
    Pointer,
    Signed(u8),
    Unsigned(u8),
    Rest,
}

fn class_of_c(text: &str) -> Class {
    if text.contains('*') {
        return Class::Pointer;
    }
    match text.trim_start_matches("const ").trim() {
        "" | "void" => Class::Nothing,
        "..." => Class::Rest,
        "caddr_t"
        | "mac_rx_t"
        | "mac_tx_notify_t"
        | "mac_tx_notify_handle_t"
        | "mac_handle_t"
        | "mac_client_handle_t"
        | "mac_promisc_handle_t"
        | "mac_prop_info_handle_t"
        | "mac_resource_handle_t"
        | "ddi_periodic_t" => Class::Pointer,
        "int"
        | "zoneid_t"
        | "boolean_t"
        | "link_state_t"
        | "kmutex_type_t"
        | "ksema_type_t"
        | "ddi_info_cmd_t"
        | "mac_client_promisc_type_t"
        | "ddi_prop_op_t" => Class::Signed(32),
        "short" | "pri_t" => Class::Signed(16),
        "clock_t" | "hrtime_t" | "ssize_t" => Class::Signed(64),
        "uchar_t" | "uint8_t" => Class::Unsigned(8),
        "uint16_t" => Class::Unsigned(16),
        "uint_t" | "uint32_t" | "minor_t" | "datalink_id_t" => Class::Unsigned(32),
        "size_t" | "uintptr_t" | "dev_t" | "mac_tx_cookie_t" => Class::Unsigned(64),
        other => panic!("what is {other}?"),
    }
}

fn class_of_rust(ty: &syn::Type) -> Class {
    let syn::Type::Path(path) = ty else {
        return match ty {
            syn::Type::Never(_) => Class::Nothing,
            _ => Class::Pointer,
        };
    };
    match path
        .path
        .segments
        .last()
        .unwrap()
        .ident
        .to_string()
        .as_str()
    {
        "c_int"
        | "zoneid_t"
        | "boolean_t"
        | "link_state_t"
        | "ddi_info_cmd_t"
        | "mac_client_promisc_type_t" => Class::Signed(32),
        "i16" => Class::Signed(16),
        "i64" | "hrtime_t" => Class::Signed(64),
        "u8" => Class::Unsigned(8),
        "u16" => Class::Unsigned(16),
        "u32" | "c_uint" | "minor_t" | "datalink_id_t" => Class::Unsigned(32),
        "usize" | "u64" | "dev_t" | "mac_tx_cookie_t" => Class::Unsigned(64),
        _ => Class::Pointer,
    }
}

/// The classes of a prototype's result and parameters.
fn classes_of_c(name: &str, prototype: &str) -> Vec<Class> {
    let (result, rest) = prototype.split_once(&format!("{name}(")).unwrap();
    let mut classes = vec![class_of_c(result)];
    let (mut depth, mut word) = (0, String::new());
    for c in rest.strip_suffix(')').unwrap().chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                classes.push(class_of_c(&std::mem::take(&mut word)));
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    if class_of_c(&word) != Class::Nothing {
        classes.push(class_of_c(&word));
    }
    classes
}

fn classes_of_rust(signature: &syn::Signature) -> Vec<Class> {
    let result = match &signature.output {
        syn::ReturnType::Default => Class::Nothing,
        syn::ReturnType::Type(_, ty) => class_of_rust(ty),
    };
    let inputs = signature.inputs.iter().map(|input| match input {
        syn::FnArg::Typed(typed) => class_of_rust(&typed.ty),
        _ => panic!("a receiver"),
    });
    let rest = signature.variadic.iter().map(|_| Class::Rest);
    std::iter::once(result).chain(inputs).chain(rest).collect()
}

#[test]
fn functions_have_the_headers_names_and_parameters() {
    let facts = facts();
    let file = syn::parse_file(include_str!("../src/function.rs")).unwrap();
    let mut declared = BTreeSet::new();
    for item in file.items {
        let syn::Item::ForeignMod(block) = item else {
            continue;
        };
        for item in block.items {
            let name = match &item {
                syn::ForeignItem::Fn(f) => f.sig.ident.to_string(),
                syn::ForeignItem::Static(s) => s.ident.to_string(),
                _ => panic!("something else is declared"),
            };
            let fact = facts.functions.get(&name);
            let fact = fact.unwrap_or_else(|| panic!("{name} isn't in the table"));
            if let syn::ForeignItem::Fn(f) = &item {
                let want = classes_of_c(&name, &fact.prototype);
                assert_eq!(classes_of_rust(&f.sig), want, "{name}: {}", fact.prototype);
            }
            declared.insert(name);
        }
    }
    // The others are what compilers call by themselves.
    let others = facts.functions.keys().filter(|f| !declared.contains(*f));
    let others: Vec<_> = others.map(String::as_str).collect();
    assert_eq!(
        others,
        ["bcmp", "memcmp", "memcpy", "memmove", "memset", "strlen"]
    );
}

#[test]
fn dependencies_are_the_modules_that_export_what_is_used() {
    let modules: BTreeSet<_> = facts().functions.into_values().map(|f| f.module).collect();
    let modules = modules.iter().map(String::as_str);
    let others: BTreeSet<_> = modules
        .filter(|m| !["unix", "genunix"].contains(m))
        .collect();
    assert_eq!(others, DEPENDENCIES.iter().copied().collect());
}

//! Pieces of code: literals, and the ICE servers that most SDKs take.

use super::{Facts, Language};

/// A string literal. JavaScript, Java and C# share their escapes; Swift has braces around a code point.
pub fn quoted(text: &str, language: Language) -> String {
    let mut literal = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                literal.push('\\');
                literal.push(character);
            }
            control if control.is_control() => {
                let code = u32::from(control);
                literal.push_str(&match language {
                    Language::Swift => format!("\\u{{{code:04x}}}"),
                    Language::JavaScript | Language::Java | Language::CSharp => {
                        format!("\\u{code:04x}")
                    }
                });
            }
            other => literal.push(other),
        }
    }
    literal.push('"');
    literal
}

pub fn js(text: &str) -> String {
    quoted(text, Language::JavaScript)
}

/// `[{ urls: […], username, credential }]` with these URLs; lines after the first are indented by `indent` spaces.
pub fn ice_servers(facts: &Facts, urls: &[String], indent: usize) -> String {
    let pad = " ".repeat(indent);
    let mut text = String::from("[{\n");
    text.push_str(&format!("{pad}  urls: [\n"));
    for url in urls {
        text.push_str(&format!("{pad}    {},\n", js(url)));
    }
    text.push_str(&format!("{pad}  ],\n"));
    text.push_str(&format!(
        "{pad}  username: {},\n",
        js(&facts.login.username)
    ));
    text.push_str(&format!(
        "{pad}  credential: {},\n",
        js(facts.login.password.expose())
    ));
    text.push_str(&format!("{pad}}}]"));
    text
}

//! Code in a page.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A piece of code, and what language it says it is: none for what stands in a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) language: Option<String>,
    pub(crate) text: String,
}

/// All of a page, in its order.
pub(crate) fn pieces(page: &str) -> Vec<Code> {
    let mut pieces = Vec::new();
    let mut block: Option<Code> = None;
    for event in Parser::new_ext(page, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let language = match kind {
                    CodeBlockKind::Fenced(language) => language.into_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                block = Some(Code { language: Some(language), text: String::new() });
            }
            Event::End(TagEnd::CodeBlock) => pieces.extend(block.take()),
            Event::Text(text) => block.iter_mut().for_each(|block| block.text.push_str(&text)),
            Event::Code(text) => {
                pieces.push(Code { language: None, text: text.into_string() });
            }
            _ => {}
        }
    }
    pieces
}

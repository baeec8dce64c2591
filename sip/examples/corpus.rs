//! `corpus unpack TEXT FOLDER`, `corpus pack FOLDER TEXT`: the kept inputs of a reader, as the one text that
//! the tree has and as the files that a fuzzer works on.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

#[path = "../tests/readers/corpus.rs"]
mod corpus;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["unpack", text, folder] => unpack(Path::new(text), Path::new(folder)),
        ["pack", folder, text] => pack(Path::new(folder), Path::new(text)),
        _ => Err("corpus unpack TEXT FOLDER, or corpus pack FOLDER TEXT".into()),
    }
}

fn unpack(text: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for (number, input) in corpus::unpack(&fs::read_to_string(text)?).iter().enumerate() {
        fs::write(folder.join(format!("kept-{number}")), input)?;
    }
    Ok(())
}

fn pack(folder: &Path, text: &Path) -> Result<(), Box<dyn Error>> {
    let inputs: Result<Vec<_>, _> = fs::read_dir(folder)?.map(|entry| fs::read(entry?.path())).collect();
    fs::write(text, corpus::pack(&inputs?))?;
    Ok(())
}

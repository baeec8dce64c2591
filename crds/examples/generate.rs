//! Writes the definition of every kind to `crds/<plural>.yaml`; `make generate` runs it.

use std::path::Path;

/// The first line of every generated file.
const HEADER: &str = "# Generated from crds/src by `make generate`. Edit the types, not this file.\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for kind in umbriel_crds::Kind::ALL {
        let definition = kind.definition();
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{}.yaml", definition.spec.names.plural));
        std::fs::write(path, format!("{HEADER}{}", serde_yaml::to_string(&definition)?))?;
    }
    Ok(())
}

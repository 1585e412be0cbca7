//! Amounts of resources: `250m`, `1`, `128Mi`.
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const SUFFIXES: &[(&str, f64)] = &[
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("m", 0.001),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
];

/// The amount as a number; the API server has already refused what is none.
pub(crate) fn amount(quantity: &Quantity) -> f64 {
    let text = quantity.0.as_str();
    SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)))
        .map_or_else(
            || text.parse().ok(),
            |(number, factor)| Some(number.parse::<f64>().ok()? * factor),
        )
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_scale() {
        for (text, value) in [
            ("250m", 0.25),
            ("2", 2.0),
            ("1.5", 1.5),
            ("1Ki", 1024.0),
            ("1k", 1000.0),
        ] {
            assert!(
                (amount(&Quantity(text.to_owned())) - value).abs() < 1e-9,
                "{text}"
            );
        }
    }
}

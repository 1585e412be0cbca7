//! `image push`, as far as it is refused; `tests/packaging` pushes to a registry.

use std::net::TcpListener;

use crate::test_project::TestProject;

#[test]
fn an_image_that_cannot_be_pushed_is_refused_with_the_reason() {
    let project = TestProject::empty();
    let folder = project.folder.path();
    std::fs::write(folder.join("other.tar"), "no archive").unwrap();
    std::fs::create_dir(folder.join("image")).unwrap();
    std::fs::write(folder.join("image/oci-layout"), "{}").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let nowhere = format!("{address}/aip:v1");
    let half = ("REGISTRY_USER", "me");
    for (file, reference, variables, code, words) in [
        (
            "missing.tar",
            &*nowhere,
            None,
            2,
            "missing.tar is no OCI layout: name the file",
        ),
        ("other.tar", &nowhere, None, 2, "other.tar is no OCI layout"),
        (".", &nowhere, None, 2, "is no OCI layout"),
        (
            "image",
            "Not A Reference",
            None,
            2,
            "`Not A Reference` is not REGISTRY/REPOSITORY:TAG",
        ),
        (
            "image",
            &nowhere,
            Some(half),
            2,
            "REGISTRY_USER and REGISTRY_PASSWORD belong together",
        ),
        ("image", &nowhere, None, 1, "cannot push to"),
    ] {
        let variables: Vec<_> = variables.into_iter().collect();
        let arguments = ["image", "push", file, reference];
        project
            .run_in(&arguments, &variables, None)
            .fails(code, words);
    }
}

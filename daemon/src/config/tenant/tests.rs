//! What a tenant may be configured to be.

use super::*;

#[derive(Debug, Deserialize)]
struct File {
    tenant: Vec<Entry>,
}

fn read(text: &str) -> Result<Vec<Tenant>, TenantError> {
    let file: File = toml::from_str(text).expect("right TOML");
    check(Path::new("/h.toml"), file.tenant)
}

#[test]
fn users_and_groups_are_found_by_name_and_by_number_and_limits_are_in_bytes() {
    let text = "[[tenant]]\nname = \"a\"\nusers = [\"root\", 7]\ngroups = [\"root\"]\n\
        machines = [3, \"vm\"]\ncertificates = [\"x\"]\n\
        memory_mib = 2\nhost_memory_mib = 3\nclients = 4\n\
        messages_per_second = 5\ngpus = [1, 0]\n[[tenant]]\nname = \"b\"\nusers = [8]";
    let tenants = read(text).expect("right");
    let expected = Tenant {
        name: "a".into(),
        users: vec![0, 7],
        groups: vec![0],
        machines: vec![3],
        named: vec!["vm".into()],
        certificates: vec!["x".into()],
        limits: Limits {
            memory: Some(2 << 20),
            host_memory: Some(3 << 20),
            clients: Some(4),
            messages_per_second: Some(5),
            gpus: Some(vec![1, 0]),
        },
    };
    assert_eq!(tenants[0], expected);
    assert_eq!((tenants[1].users.clone(), tenants[1].limits.clone()), (vec![8], Limits::default()));
}

#[test]
fn a_wrong_tenant_is_refused_with_file_key_and_remedy() {
    for (rest, key, says) in [
        ("", "users", "names neither"),
        ("users = [\"no-such-user\"]", "users", "/etc/passwd has no \"no-such-user\""),
        ("groups = [\"no-such-group\"]", "groups", "/etc/group has no \"no-such-group\""),
        ("users = [5, 5]", "users", "5 is named by tenant \"a\" already"),
        ("machines = [2]", "machines", "2 is no virtual machine's"),
        ("users = [5]\nmemory_mib = 0", "memory_mib", "0 is not 1 to"),
        ("users = [5]\nclients = 0", "clients", "0 is not 1 to 400"),
        ("users = [5]\nclients = 401", "clients", "401 is not 1 to 400"),
        ("users = [5]\nhost_memory_mib = 0", "host_memory_mib", "0 is not 1 to"),
        ("users = [5]\nmessages_per_second = 0", "messages_per_second", "0 is not 1 to"),
        ("users = [5]\ngpus = []", "gpus", "each named once"),
        ("users = [5]\ngpus = [1, 1]", "gpus", "each named once"),
        ("users = [5]\n[[tenant]]\nname = \"a\"\nusers = [6]", "name", "another tenant"),
        ("users = [5]\n[[tenant]]\nname = \"b\"\nusers = [5]", "users", "by tenant \"a\" already"),
        ("groups = [5]\n[[tenant]]\nname = \"b\"\ngroups = [5]", "groups", "already"),
        ("machines = [5]\n[[tenant]]\nname = \"b\"\nmachines = [5]", "machines", "already"),
        (
            "certificates = [\"x\"]\n[[tenant]]\nname = \"b\"\ncertificates = [\"x\"]",
            "certificates",
            "x is named by tenant \"a\" already",
        ),
        ("users = [5]\n[[tenant]]\nname = \"b c\"\nusers = [6]", "name", "a name has"),
    ] {
        let error = read(&format!("[[tenant]]\nname = \"a\"\n{rest}")).expect_err(rest);
        assert_eq!(error.key, key, "{rest}");
        assert!(error.to_string().starts_with("/h.toml, tenant \""), "{error}");
        assert!(error.source.to_string().contains(says), "{rest}: {}", error.source);
        assert!(error.hint().ends_with('.'), "{}", error.hint());
    }
}

#[test]
fn a_gpu_that_the_host_does_not_have_is_refused() {
    let tenants = read("[[tenant]]\nname = \"a\"\nusers = [5]\ngpus = [1, 0]").expect("right");
    let path = Path::new("/h.toml");
    assert!(check_gpus(path, &tenants, 2).is_ok());
    let error = check_gpus(path, &tenants, 1).expect_err("there is only GPU 0");
    assert_eq!((error.key, error.source), ("gpus", Problem::NoGpu { gpu: 1, count: 1 }));
}

//! Roots described as text, and the plans that are made for them.
//!
//! The expected texts lie in `tests/plans/`, and the published schemas of the answers and facts in
//! `packaging/schema/`; `VGPU_ACCEPT=1` writes them anew.

#![allow(clippy::disallowed_methods, reason = "tests read and write their own expectations")]

use std::path::Path;

use vgpu_install::answer::Action;
use vgpu_install::error::Error;
use vgpu_install::facts::{Facts, Manager, PciDevice, SHIMS};
use vgpu_install::host::memory::Memory;
use vgpu_install::plan::{Plan, Policy, Scope, plan};
use vgpu_install::step::Step;
use vgpu_install::{answer, discover, report};

const UNIT: &str = "[Unit]\\nDescription=Ollama Service\\n[Service]\\nExecStart=";

fn machine(text: &str, shims: &str) -> Memory {
    let mut whole = text.to_owned();
    for name in SHIMS {
        whole.push_str(&format!("\nfile {shims}/vgpu/{name} ours-999"));
    }
    Memory::described(&whole)
}

fn debian(text: &str) -> Facts {
    let host = machine(text, "/usr/lib/x86_64-linux-gnu");
    discover::facts(&host).unwrap()
}

fn policy(scope: Scope) -> Policy {
    Policy { scope, ..Policy::default() }
}

fn shown(plan: &Plan) -> String {
    let mut out = String::new();
    for action in plan.steps.iter().map(Action::doing) {
        out.push_str(&format!("{}: {}\n", action.op, action.sentence));
        for line in action.text.iter().flat_map(|text| text.lines()) {
            out.push_str(&format!("    {line}\n"));
        }
    }
    for warning in &plan.warnings {
        out.push_str(&format!("warning {}: {}\n", warning.code, warning.what));
    }
    out
}

#[track_caller]
fn check(name: &str, facts: &Facts, policy: &Policy) {
    let found = shown(&plan(facts, policy).unwrap());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans").join(name);
    if std::env::var_os("VGPU_ACCEPT").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{name}: VGPU_ACCEPT=1 takes the new text");
}

fn local() -> String {
    format!(
        "file /etc/systemd/system/ollama.service {UNIT}/usr/local/bin/ollama serve\\nUser=ollama
         file /usr/local/bin/ollama program
         file /usr/local/lib/ollama/cuda_v12/libggml-cuda.so backend
         link /usr/local/lib/ollama/cuda_v12/libcudart.so.12 -> libcudart.so.12.999
         file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so backend
         link /usr/local/lib/ollama/cuda_v13/libcudart.so.13 -> libcudart.so.13.999
         file /usr/local/lib/ollama/cuda_v13/libcublas.so.13 theirs"
    )
}

#[test]
fn the_install_scripts_own_layout_gets_a_drop_in() {
    check("local-service", &debian(&local()), &policy(Scope::Service));
}

#[test]
fn the_same_in_scope_bundle_gets_links() {
    check("local-bundle", &debian(&local()), &policy(Scope::Bundle));
}

#[test]
fn an_ollama_below_usr_on_an_rpm_system_is_served_from_lib64() {
    let text = format!(
        "file /usr/lib/systemd/system/ollama.service {UNIT}/usr/bin/ollama serve
         file /etc/os-release PRETTY_NAME=\"Sim Linux 999\"
         file /lib64/ld-linux-x86-64.so.2 loader
         file /usr/bin/ollama program
         file /usr/lib/ollama/cuda_v13/libggml-cuda.so backend"
    );
    let facts = discover::facts(&machine(&text, "/usr/lib64")).unwrap();
    check("usr-service", &facts, &policy(Scope::Service));
    check("usr-bundle", &facts, &policy(Scope::Bundle));
}

#[test]
fn the_older_flat_layout_is_found() {
    let text = format!(
        "file /etc/systemd/system/ollama.service {UNIT}/usr/local/bin/ollama serve
         file /usr/local/bin/ollama program
         file /usr/local/lib/ollama/libggml-cuda.so backend
         file /usr/local/lib/ollama/libcudart.so.12.999 theirs
         link /usr/local/lib/ollama/libcudart.so.12 -> libcudart.so.12.999"
    );
    check("flat-bundle", &debian(&text), &policy(Scope::Bundle));
}

#[test]
fn values_that_a_unit_has_by_now_are_kept_behind_ours() {
    let text = format!(
        "file /etc/systemd/system/ollama.service {UNIT}/usr/bin/ollama serve\\n\
         Environment=\"LD_LIBRARY_PATH=/opt/a b:/usr/lib/x86_64-linux-gnu/vgpu\" X=1
         file /etc/systemd/system/ollama.service.d/10-x.conf [Service]\\n\
         Environment='LD_PRELOAD=/opt/%n.so /opt/quote\\\".so'
         file /usr/lib/systemd/system/vgpu-guest.service [Unit]
         file /usr/bin/ollama program
         file /usr/lib/ollama/cuda_v12/libggml-cuda.so backend"
    );
    let link = Some("vsock:2:6475".into());
    check("merged", &debian(&text), &Policy { link, ..Policy::default() });
}

#[test]
fn a_machine_without_ollama_is_told_so_and_left() {
    let facts = debian("dir /var/lib");
    check("no-ollama", &facts, &policy(Scope::Service));
    assert!(plan(&facts, &policy(Scope::Bundle)).unwrap().is_empty());
}

#[test]
fn an_ollama_without_unit_is_pointed_to_scope_bundle() {
    let text = "file /usr/local/bin/ollama program
         file /usr/local/lib/ollama/cuda_v11/libggml-cuda.so backend
         file /usr/lib/x86_64-linux-gnu/libcuda.so.1 theirs-580.999";
    check("no-unit", &debian(text), &policy(Scope::Service));
}

#[test]
fn a_masked_unit_is_left_alone() {
    let text = "link /etc/systemd/system/ollama.service -> /dev/null
         file /usr/local/bin/ollama program
         file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so backend";
    check("masked", &debian(text), &policy(Scope::Service));
}

const CONF: &str = "file /etc/ld.so.conf include /etc/ld.so.conf.d/*.conf
         file /etc/ld.so.conf.d/libc.conf /usr/local/lib";

#[test]
fn scope_system_adds_a_line_for_ldconfig_to_what_each_ollama_needs() {
    let by_hand = "file /usr/bin/ollama other
         file /usr/lib/ollama/cuda_v13/libggml-cuda.so backend";
    let text = format!("{}\n{by_hand}\n{CONF}", local());
    check("system", &debian(&text), &policy(Scope::System));
}

#[test]
fn scope_system_is_refused_where_ours_would_not_win() {
    let compat = "file /etc/ld.so.conf.d/00-cuda-compat.conf /usr/local/cuda/compat
         file /usr/local/cuda/compat/libcuda.so.1 theirs";
    let facts = debian(&format!("{}\n{CONF}\n{compat}", local()));
    let error = plan(&facts, &policy(Scope::System)).unwrap_err();
    let said = "planning scope system: libcuda.so.1 would still be \
                /usr/local/cuda/compat/libcuda.so.1, by a line of \
                /etc/ld.so.conf.d/00-cuda-compat.conf that comes before ours";
    assert_eq!(error.to_string(), said);
    assert!(!plan(&facts, &policy(Scope::Service)).unwrap().is_empty());
    let error = plan(&debian(&local()), &policy(Scope::System)).unwrap_err();
    assert!(matches!(error, Error::NotIncluded { .. }), "{error}");
}

#[test]
fn a_hardened_unit_is_opened_for_the_link_and_no_further() {
    let text = format!(
        "{}\nfile /etc/group vgpu:x:990:
         file /etc/systemd/system/ollama.service.d/10-hard.conf [Service]\\n\
         PrivateDevices=yes\\nProtectKernelTunables=yes\\nProtectSystem=strict\\n\
         RestrictAddressFamilies=AF_INET AF_INET6\\nMemoryDenyWriteExecute=yes\\n\
         NoExecPaths=/\\nExecPaths=/usr/local /usr/lib/x86_64-linux-gnu/libc.so.6\\n\
         SystemCallFilter=@system-service\\nSystemCallFilter=~@memlock\\n\
         DevicePolicy=closed",
        local()
    );
    let facts = debian(&text);
    for (name, link) in [("hardened-unix", None), ("hardened-pci", Some("pci:0000:00:05.0"))] {
        let link = link.map(Into::into);
        check(name, &facts, &Policy { link, ..Policy::default() });
    }
}

#[test]
fn a_users_own_unit_gets_its_drop_in_outside_of_every_home() {
    let mut facts = debian(&local());
    let unit = &mut facts.units[0];
    unit.manager = Manager::User("ann".into());
    unit.drop_in_path = "/etc/systemd/user/ollama.service.d/50-vgpu.conf".into();
    unit.missing_dirs = vec!["/etc/systemd/user/ollama.service.d".into()];
    facts.guest_unit = Some("vgpu-guest.service".into());
    facts.guest.group = true;
    check("user-unit", &facts, &policy(Scope::Service));
}

#[test]
fn users_whose_units_have_one_name_share_a_drop_in_or_are_both_named() {
    let mut facts = debian(&local());
    let unit = &mut facts.units[0];
    unit.drop_in_path = "/etc/systemd/user/ollama.service.d/50-vgpu.conf".into();
    unit.manager = Manager::User("ann".into());
    let mut other = unit.clone();
    other.manager = Manager::User("ben".into());
    facts.units.push(other);
    let steps = plan(&facts, &policy(Scope::Service)).unwrap().steps;
    let writes = steps.iter().filter(|step| matches!(step, Step::WriteFile { .. })).count();
    let restarts = steps.iter().filter(|step| matches!(step, Step::Restart { .. })).count();
    assert_eq!((writes, restarts), (1, 2), "{steps:?}");
    facts.units[1].link = Some("tls:[::1]:999".into());
    let error = plan(&facts, &policy(Scope::Service)).unwrap_err();
    let said = error.to_string();
    assert!(said.contains(" of ann (") && said.contains(" of ben ("), "{said}");
    assert_eq!(error.code(), "shared_drop_in");
}

#[test]
fn without_a_unit_the_bundle_is_taken_unless_a_scope_was_asked_for() {
    let text = "file /usr/local/bin/ollama program
         file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so backend";
    let policy = Policy { may_choose: true, ..Policy::default() };
    check("chosen-bundle", &debian(text), &policy);
    assert_eq!(plan(&debian(text), &policy).unwrap().scope, Scope::Bundle);
    assert_eq!(plan(&debian(&local()), &policy).unwrap().scope, Scope::Service);
}

#[test]
fn a_restart_that_is_left_out_is_pending() {
    let policy = Policy { no_restart: true, ..Policy::default() };
    check("no-restart", &debian(&local()), &policy);
}

#[test]
fn variables_that_keep_ollama_from_the_gpu_are_named() {
    let text = format!(
        "{}\nfile /etc/systemd/system/ollama.service.d/10-x.conf [Service]\\n\
         Environment=CUDA_VISIBLE_DEVICES=-1 OLLAMA_LLM_LIBRARY=cuda_v11",
        local()
    );
    check("variables", &debian(&text), &policy(Scope::Service));
}

#[test]
fn a_link_of_ours_that_no_backend_asks_for_now_is_removed() {
    let text = format!(
        "{}\nlink /usr/local/lib/ollama/cuda_v12/libcudart.so.13 -> /usr/lib64/vgpu/libcudart.so.13
         link /usr/local/lib/ollama/cuda_v12/libcublas.so.13 -> ../cuda_v13/libcublas.so.13",
        local()
    );
    check("stale-link", &debian(&text), &policy(Scope::Bundle));
}

#[test]
fn a_gpu_of_the_machine_itself_is_not_hidden_unasked() {
    let mut facts = debian(&local());
    let device = |subsystem: &str| PciDevice {
        address: "0000:01:00.0".into(),
        vendor: "10de".into(),
        device: "2331".into(),
        subsystem: subsystem.into(),
        driver: Some("nvidia".into()),
        ..PciDevice::default()
    };
    facts.guest.devices = vec![device("10de:1626")];
    let error = plan(&facts, &Policy::default()).unwrap_err();
    assert!(matches!(&error, Error::RealDriver { device } if device == "0000:01:00.0"), "{error}");
    assert!(!plan(&facts, &Policy { force: true, ..Policy::default() }).unwrap().is_empty());
    facts.guest.devices = vec![device("10de:16c1")];
    assert!(plan(&facts, &Policy::default()).is_ok(), "the stub is no GPU of its own");
    facts.guest.devices = vec![device("10de:1626")];
    facts.platform.container = Some("docker".into());
    assert!(plan(&facts, &Policy::default()).is_ok(), "the GPU is not the container's");
}

#[test]
fn a_later_drop_in_that_would_undo_ours_is_refused_by_name() {
    let cases = [
        "file /etc/systemd/system/ollama.service.d/99-x.conf [Service]\\nEnvironment=LD_PRELOAD=",
        "file /run/systemd/system/ollama.service.d/60.conf [Service]\\nEnvironment=",
        "file /usr/lib/systemd/system/service.d/x.conf \
         [Service]\\nUnsetEnvironment=LD_LIBRARY_PATH",
        "file /etc/default/ollama LD_LIBRARY_PATH=/opt\nfile \
         /etc/systemd/system/ollama.service.d/a.conf \
         [Service]\\nEnvironmentFile=-/etc/default/ollama",
    ];
    for case in cases {
        let facts = debian(&format!("{}\n{case}", local()));
        let error = plan(&facts, &policy(Scope::Service)).unwrap_err();
        assert!(matches!(error, Error::Overridden { .. }), "{case}: {error:?}");
    }
}

#[test]
fn facts_survive_json_and_give_the_same_plan() {
    let facts = debian(&local());
    let text = serde_json::to_string(&facts).unwrap();
    let back: Facts = serde_json::from_str(&text).unwrap();
    assert_eq!(back, facts);
    let policy = policy(Scope::Bundle);
    assert_eq!(plan(&back, &policy).unwrap(), plan(&facts, &policy).unwrap());
}

#[test]
fn what_cannot_be_served_is_refused_with_its_own_exit_code() {
    let musl = "file /lib/ld-musl-x86_64.so.1 musl\ndir /usr/lib/x86_64-linux-gnu";
    let unsupported = plan(&debian(musl), &Policy::default()).unwrap_err();
    assert_eq!(unsupported.exit_code(), 6, "{unsupported}");
    let nothing = discover::facts(&Memory::described("dir /var/lib")).unwrap();
    assert_eq!(plan(&nothing, &Policy::default()).unwrap_err().exit_code(), 6);
    let bare = Memory::described("dir /usr/lib/x86_64-linux-gnu");
    let missing = plan(&discover::facts(&bare).unwrap(), &Policy::default()).unwrap_err();
    assert!(matches!(missing, Error::ShimsMissing { .. }), "{missing:?}");
    let failure = answer::Failure::from(&missing);
    assert_eq!(failure.hint, Some("reinstall the package vgpu-ollama and run it again"));
}

fn smi_steps(text: &str) -> Vec<String> {
    let plan = plan(&debian(text), &Policy::default()).unwrap();
    let smi = |step: &&vgpu_install::step::Step| {
        step.path().is_some_and(|path| path.ends_with("nvidia-smi") || path.ends_with("bin"))
    };
    plan.steps.iter().filter(smi).map(vgpu_install::step::Step::doing).collect()
}

#[test]
fn the_name_nvidia_smi_is_given_to_our_program_only_where_it_is_nobodys() {
    let ours = "file /usr/bin/vgpu-smi ours";
    let made = "link /usr/local/bin/nvidia-smi to /usr/bin/vgpu-smi";
    assert_eq!(smi_steps(&format!("{ours}\ndir /usr/local/bin")), [made]);
    assert_eq!(smi_steps(ours), ["make the directory /usr/local/bin", made]);
    let linked = format!("{ours}\nlink /usr/local/bin/nvidia-smi -> /usr/bin/vgpu-smi");
    for (text, expected) in [
        ("file /usr/local/bin/ollama program".into(), &[][..]),
        (linked.clone(), &[]),
        (format!("{ours}\nfile /usr/bin/nvidia-smi theirs"), &[]),
        (format!("{ours}\nfile /usr/local/bin/nvidia-smi theirs"), &[]),
        (format!("{ours}\nlink /usr/local/bin/nvidia-smi -> nowhere"), &[]),
        (format!("{ours}\nlink /usr/bin/nvidia-smi -> vgpu-smi"), &[]),
        (format!("{linked}\nlink /usr/local/sbin -> bin"), &[]),
        (
            format!("{linked}\nfile /usr/lib/wsl/lib/nvidia-smi theirs"),
            &["remove /usr/local/bin/nvidia-smi, a link to /usr/bin/vgpu-smi"],
        ),
    ] {
        assert_eq!(smi_steps(&text), expected, "{text}");
    }
}

#[test]
fn the_published_schemas_are_those_of_the_types() {
    fn schema<T: schemars::JsonSchema>() -> String {
        let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
        let schema = settings.into_generator().into_root_schema_for::<T>();
        serde_json::to_string_pretty(&schema).unwrap() + "\n"
    }
    let schemas = [
        ("answer", schema::<answer::Answer>()),
        ("facts", schema::<Facts>()),
        ("report", schema::<report::Document>()),
    ];
    for (name, found) in schemas {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/schema");
        let path = dir.join(format!("{name}.json"));
        if std::env::var_os("VGPU_ACCEPT").is_some() {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, expected, "{name}: VGPU_ACCEPT=1 takes the new schema");
    }
}

//! Ollamas described as text: where they came from, their layouts, and those out of our reach.

use vgpu_install::discover;
use vgpu_install::facts::{Confined, Facts, Layout, Ollama, SHIMS, Source};
use vgpu_install::host::memory::Memory;
use vgpu_install::plan::{Policy, Scope, plan};

fn facts(text: &str) -> Facts {
    discover::facts(&Memory::described(text)).unwrap()
}

#[track_caller]
fn ollama(text: &str) -> Ollama {
    let found = facts(text).ollamas;
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

#[track_caller]
fn confined(text: &str) -> Confined {
    let found = facts(text).confined;
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

#[test]
fn every_layout_since_0_5_is_told_apart() {
    let lib = "file /usr/local/bin/ollama program\nfile /usr/local/lib/ollama";
    let cases = [
        (
            format!(
                "{lib}/runners/cuda_v12_avx/libggml_cuda_v12.so x
                 {lib}/runners/cuda_v11_avx/libggml_cuda_v11.so x
                 {lib}/runners/cpu_avx/ollama_llama_server x
                 {lib}/libcudart.so.12 x"
            ),
            "Runners 11 12 - false",
        ),
        (
            format!("{lib}/cuda_v11/libggml-cuda.so x\n{lib}/cuda_v12/libggml-cuda.so x"),
            "Directories 11 12 - false",
        ),
        (format!("{lib}/libggml-cuda.so x\n{lib}/libcudart.so.12.8 x"), "Flat 12 - false"),
        (
            format!("{lib}/cuda_v12/libggml-cuda.so x\n{lib}/cuda_v13/libggml-cuda.so x"),
            "Directories 12 13 - false",
        ),
        (
            format!(
                "{lib}/cuda_v13/libggml-cuda.so x\n{lib}/llama-server x
                 {lib}/mlx_cuda_v13/libmlx.so x\n{lib}/vulkan/libggml-vulkan.so x"
            ),
            "Directories 13 - true mlx_cuda_v13",
        ),
        (format!("{lib}/libggml-cpu.so x"), "None - false"),
    ];
    for (text, expected) in cases {
        let found = ollama(&text);
        let mut shown = format!("{:?} ", found.layout);
        for bundle in &found.bundles {
            shown.push_str(&format!("{} ", bundle.cuda_major.unwrap_or(0)));
        }
        shown.push_str(&format!("- {}", found.llama_server));
        for dir in &found.mlx_dirs {
            shown.push_str(&format!(" {}", dir.file_name().unwrap().to_string_lossy()));
        }
        assert_eq!(shown, expected, "{text}");
    }
}

#[test]
fn the_libraries_of_0_5_runners_are_linked_where_the_runners_look_first() {
    let found = ollama(
        "file /usr/bin/ollama program
         file /usr/lib/ollama/runners/cuda_v12_avx/libggml_cuda_v12.so x
         file /usr/lib/ollama/libcudart.so.12 theirs",
    );
    assert_eq!(found.layout, Layout::Runners);
    let bundle = &found.bundles[0];
    assert_eq!(bundle.dir.to_str(), Some("/usr/lib/ollama"));
    let backend = "/usr/lib/ollama/runners/cuda_v12_avx/libggml_cuda_v12.so";
    assert_eq!(bundle.backend.to_str(), Some(backend));
    let entry = bundle.entries.iter().find(|entry| entry.name == "libcudart.so.12").unwrap();
    assert!(!entry.object.is_absent());
}

#[test]
fn a_program_takes_the_libraries_beside_itself_not_those_of_another_install() {
    let facts = facts(
        "file /opt/ai/bin/ollama program
         link /usr/local/bin/ollama -> /opt/ai/bin/ollama
         file /opt/ai/lib/ollama/cuda_v12/libggml-cuda.so x
         file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so x
         file /srv/o/ollama program
         file /srv/o/lib/ollama/cuda_v13/libggml-cuda.so x
         file /etc/systemd/system/ollama.service [Service]\\nExecStart=/srv/o/ollama serve",
    );
    let dirs: Vec<_> = facts.ollamas.iter().map(|one| one.library_dir.to_string()).collect();
    assert_eq!(dirs, ["/srv/o/lib/ollama", "/opt/ai/lib/ollama"]);
    let left: Vec<_> = facts.left_behind.iter().map(ToString::to_string).collect();
    assert_eq!(left, ["/usr/local/lib/ollama"]);
}

#[test]
fn a_program_without_libraries_is_still_told_of() {
    let found = ollama("file /usr/local/bin/ollama program");
    assert_eq!(found.layout, Layout::None);
    assert_eq!(found.library_dir.to_str(), Some("/usr/local/bin"));
}

#[test]
fn where_an_ollama_came_from_is_told_with_what_to_do() {
    let unit = "[Service]\\nExecStart=/usr/local/bin/ollama serve";
    let cases = [
        (
            format!(
                "file /usr/local/bin/ollama x\nfile /usr/local/lib/ollama/llama-server x
                 file /etc/systemd/system/ollama.service {unit}
                 file /etc/passwd ollama:x:998:998::/usr/share/ollama:/bin/false"
            ),
            (Source::InstallScript, None, ""),
        ),
        (
            "file /opt/ollama/bin/ollama x\nfile /opt/ollama/lib/ollama/llama-server x".into(),
            (Source::Tarball, None, ""),
        ),
        (
            "file /usr/bin/ollama x\nfile /usr/lib/ollama/libggml-cpu.so x
             file /var/lib/pacman/local/ollama-0.99.3-2/desc x
             file /etc/arch-release x
             file /var/lib/pacman/local/ollama-docs-1-1/desc x"
                .into(),
            (Source::Package, Some("0.99.3"), "pacman -S ollama-cuda"),
        ),
        (
            "file /usr/bin/ollama x\nfile /usr/lib/ollama/cuda_v13/libggml-cuda.so x
             file /var/lib/dpkg/info/ollama.list /.\\n/usr/bin/ollama\\n
             file /var/lib/dpkg/status Package: other\\nVersion: 1\\n\\nPackage: ollama\\nVersion: \
             1:0.99.4-1\\n"
                .into(),
            (Source::Package, Some("0.99.4"), ""),
        ),
        (
            "link /run/current-system/sw/bin/ollama -> /nix/store/h-ollama-0.99.5/bin/ollama
             file /nix/store/h-ollama-0.99.5/bin/ollama #!/bin/sh\\nexec -a \"$0\" \
             /nix/store/h-ollama-0.99.5/bin/.ollama-wrapped \"$@\"\\n
             file /nix/store/h-ollama-0.99.5/bin/.ollama-wrapped x
             file /nix/store/h-ollama-0.99.5/lib/ollama/cuda_v12/libggml-cuda.so x"
                .into(),
            (Source::Nix, Some("0.99.5"), "services.ollama.environmentVariables"),
        ),
    ];
    for (text, (source, version, advice)) in cases {
        let found = ollama(&text);
        assert_eq!((found.source, found.version.as_deref()), (source, version), "{text}");
        let said = found.advice.unwrap_or_default();
        assert!(said.contains(advice) && said.is_empty() == advice.is_empty(), "{said}");
    }
}

#[test]
fn homebrew_is_told_that_its_build_has_no_gpu() {
    let brew = std::path::Path::new("/home").join("linuxbrew/.linuxbrew");
    let brew = brew.display();
    let found = ollama(&format!(
        "link {brew}/bin/ollama -> ../Cellar/ollama/0.99.1/bin/ollama
         file {brew}/Cellar/ollama/0.99.1/bin/ollama x"
    ));
    assert_eq!((found.source, found.version.as_deref()), (Source::Brew, Some("0.99.1")));
    assert!(found.advice.unwrap().contains("brew uninstall ollama"));
}

#[test]
fn containers_of_docker_get_the_command_that_serves_them() {
    let found = confined(
        "file /var/lib/docker/containers/a1/config.v2.json \
         {\"Name\":\"/llm\",\"Config\":{\"Image\":\"ollama/ollama:0.99.1\"},\"State\":\
         {\"Running\":true}}
         file /var/lib/docker/containers/a1/hostconfig.json \
         {\"DeviceRequests\":[{\"Count\":-1,\"Capabilities\":[[\"gpu\"]]}]}
         file /var/lib/docker/containers/b2/config.v2.json {\"Config\":{\"Image\":\"nginx\"}}
         file /var/lib/docker/containers/c3/config.v2.json no json
         dir /usr/lib/x86_64-linux-gnu
         file /etc/vgpu/guest.toml link = \"vsock:2:6475\"",
    );
    assert_eq!((found.source, found.name.as_str()), (Source::Docker, "llm"));
    assert_eq!((found.version.as_deref(), found.running), (Some("0.99.1"), Some(true)));
    assert!(found.wants_nvidia);
    let models = ["/root", ".ollama"].join("/");
    assert_eq!(
        found.advice.replace(&models, "MODELS"),
        "make the container anew, without --gpus, whose hook fails where no driver is: docker run \
         -d --name ollama -v ollama:MODELS -p 11434:11434 -v \
         /usr/lib/x86_64-linux-gnu/vgpu:/usr/local/nvidia/lib64:ro -e VGPU_LINK=vsock:2:6475 \
         --security-opt seccomp=unconfined -e LD_PRELOAD=/usr/local/nvidia/lib64/libcudart.so.12:\
         /usr/local/nvidia/lib64/libcudart.so.13:/usr/local/nvidia/lib64/libcublas.so.12:\
         /usr/local/nvidia/lib64/libcublas.so.13 ollama/ollama:0.99.1"
    );
}

#[test]
fn images_quadlets_snaps_and_flatpaks_are_recognised() {
    let cases = [
        (
            "file /etc/docker/daemon.json {\"data-root\":\"/srv/docker\"}
             file /srv/docker/image/overlay2/repositories.json \
             {\"Repositories\":{\"nginx\":{},\"ollama/ollama\":\
             {\"ollama/ollama:latest\":\"sha256:0\"}}}",
            (Source::Docker, "ollama/ollama:latest", "-v /run/vgpu:/run/vgpu -e LD_PRELOAD="),
        ),
        (
            "file /etc/passwd ann:x:1000:1000::/srv/ann:/bin/sh
             file /srv/ann/.local/share/containers/storage/overlay-containers/containers.json \
             [{\"names\":[\"o1\"],\"metadata\":\
             \"{\\\"image-name\\\":\\\"docker.io/ollama/ollama:latest\\\"}\"}]",
            (Source::Podman, "o1", "podman run"),
        ),
        (
            "file /etc/containers/systemd/llm.container [Container]\\n\
             Image=docker.io/ollama/ollama\\nAddDevice=nvidia.com/gpu=all",
            (Source::Podman, "llm.container", "without --gpus"),
        ),
        (
            "dir /snap/ollama/95
             link /snap/ollama/current -> 95
             file /snap/ollama/95/meta/snap.yaml name: ollama\\nversion: '0.99.1'",
            (Source::Snap, "ollama", "snap remove ollama"),
        ),
        (
            "dir /var/lib/flatpak/app/com.jeffser.Alpaca/current",
            (Source::Flatpak, "com.jeffser.Alpaca", "11434"),
        ),
    ];
    for (text, (source, name, advice)) in cases {
        let found = confined(text);
        assert_eq!((found.source, found.name.as_str()), (source, name), "{text}");
        assert!(found.advice.contains(advice), "{}", found.advice);
    }
}

#[test]
fn no_link_goes_into_the_store_of_nix_and_no_drop_in_beside_a_container() {
    let mut text = "file /nix/store/h-ollama-0.99.5/bin/ollama x
         link /usr/bin/ollama -> /nix/store/h-ollama-0.99.5/bin/ollama
         file /nix/store/h-ollama-0.99.5/lib/ollama/cuda_v12/libggml-cuda.so x
         file /etc/systemd/system/llm.service [Service]\\nExecStart=/usr/bin/docker run \
         ollama/ollama"
        .to_owned();
    for name in SHIMS {
        text.push_str(&format!("\nfile /usr/lib/x86_64-linux-gnu/vgpu/{name} ours-999"));
    }
    let facts = facts(&text);
    for scope in [Scope::Service, Scope::Bundle] {
        let plan = plan(&facts, &Policy { scope, ..Policy::default() }).unwrap();
        assert!(plan.is_empty(), "{:?}", plan.steps);
        let said: Vec<_> = plan.warnings.iter().map(|warning| warning.code.as_str()).collect();
        assert!(said.contains(&"not_reached") && said.contains(&"kept"), "{said:?}");
    }
}

#[test]
fn openrcs_script_is_read_and_its_own_file_advised() {
    let found = ollama(
        "file /etc/init.d/ollama #!/sbin/openrc-run\\ncommand=\"/opt/o/bin/ollama\"\\n
         file /sbin/openrc x
         dir /run/openrc
         file /opt/o/bin/ollama x
         file /opt/o/lib/ollama/cuda_v12/libggml-cuda.so x",
    );
    let advice = found.advice.unwrap();
    assert!(advice.contains("/etc/conf.d/ollama"), "{advice}");
}

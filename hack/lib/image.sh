# shellcheck shell=bash
# Builds the image of hack/Dockerfile around a daemon that was built already. Sourced, from the
# repository's root.

# The C library loads these by name, so that nothing is linked to them. New ones have them built in.
readonly NAME_SERVICES=(libnss_files.so.2 libnss_dns.so.2)

# The libraries that a program is linked to, and its loader; none if it is static.
linked_to() { { ldd "$1" 2>/dev/null || true; } | awk '/=> \// { print $3 } $1 ~ /^\// { print $1 }'; }

# prepare_context DAEMON FOLDER: what the Dockerfile copies.
prepare_context() {
    local daemon=$1 root=$2/root lib name
    # Whoever runs the container has to read what is made here.
    umask 022
    install -d "$root/etc" "$2/owned/data"
    install -D "$daemon" "$root/usr/bin/rkvd"
    # Most of a build is there to debug it. Without binutils the image is just larger.
    strip "$root/usr/bin/rkvd" 2>/dev/null || true

    # At the paths that ldd tells, which are those where the loader looks.
    while read -r lib; do
        install -D "$lib" "$root$lib"
        [[ ${lib##*/} == libc.so.* ]] || continue
        for name in "${NAME_SERVICES[@]}"; do
            [[ -e ${lib%/*}/$name ]] || continue
            linked_to "${lib%/*}/$name" | while read -r needed; do install -D "$needed" "$root$needed"; done
            install -D "${lib%/*}/$name" "$root${lib%/*}/$name"
        done
    done < <(linked_to "$daemon")

    echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
    echo 'rkv:x:10001:10001:rkv:/data:/sbin/nologin' >"$root/etc/passwd"
    echo 'rkv:x:10001:' >"$root/etc/group"
}

# build_image DAEMON TAG: builds the image, and sees whether it starts.
build_image() (
    daemon=$1 tag=$2
    context=$(mktemp -d)
    trap 'rm -rf "$context"' EXIT
    prepare_context "$daemon" "$context"
    # Quiet unless it fails: the classic builder warns each time that it is not the new one.
    if ! output=$({ docker build --quiet --force-rm --tag "$tag" --file hack/Dockerfile "$context" &&
        docker run --rm --network none "$tag" --version; } 2>&1); then
        echo "the image $tag cannot be built from $daemon:" >&2
        echo "$output" >&2
        return 1
    fi
)

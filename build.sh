#!/usr/bin/env bash
# The one door: build | run | test | regress [-l] [NAME...] | bench [NAME...] | flash DEVICE.
# It finds Go as go.mod pins it and hands over to images/door, which does the work.
set -euo pipefail
export NIDUS_FROM=$PWD # the caller's folder, which paths in the arguments begin from
cd "$(dirname "${BASH_SOURCE[0]}")"

want=$(sed -n 's/^go //p' go.mod)

say() { echo "build.sh: $*" >&2; }

# older A B: version A is older than B.
older() { [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install() {
	say "installing Debian's $*"
	as_root apt-get update -qq >&2
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

[ "$(uname -sm)" = "Linux x86_64" ] || { say "this needs Linux on x86-64, and is $(uname -sm)"; exit 1; }

for d in /usr/local/go/bin "$HOME/go/bin" /usr/lib/go/bin; do
	command -v go >/dev/null || { [ -x "$d/go" ] && PATH=$PATH:$d; }
done
if ! command -v go >/dev/null; then
	command -v apt-get >/dev/null || { say "Go $want is missing: install it and put its bin folder on PATH"; exit 1; }
	install golang-go ca-certificates
fi

have=$(GOTOOLCHAIN=local go env GOVERSION)
have=${have#go}
have=${have%% *}
if older "$have" "$want" || [ "${have%.*}" != "${want%.*}" ]; then
	# The build edits the Go runtime's sources, and so takes no other release. A
	# toolchain is a module (go.dev/doc/toolchain), whose files have lost their execute
	# bits. It is used by a link, because Go replaces no files below its module cache.
	say "Go $have is here; fetching Go $want, a module of golang.org/toolchain"
	module=golang.org/toolchain@v0.0.1-go$want.linux-amd64
	tmp=$(mktemp -d)
	root=$(cd "$tmp" && GOTOOLCHAIN=local GOFLAGS=-mod=mod go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	rm -rf "$tmp"
	[ -x "${root:?Go $want could not be fetched; install it by hand}/bin/go" ] || {
		chmod -R u+w "$root"
		chmod +x "$root"/bin/* "$root"/pkg/tool/*/*
	}
	mkdir -p out
	ln -sfn "$root" out/toolchain
	export PATH="$PWD/out/toolchain/bin:$PATH" GOROOT="$PWD/out/toolchain" GOTOOLCHAIN=local
fi

export GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false"
mkdir -p out
echo "module out" >out/go.mod # keeps what is generated there out of ./...
go build -o out/door ./images/door
exec out/door "$@"

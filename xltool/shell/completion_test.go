package shell

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// script returns what xl completion prints.
func script(t *testing.T, shell string) string {
	var out, errs bytes.Buffer
	if st := Main(t.Context(), []string{"completion", shell}, nil, &out, &errs, nil); st != 0 {
		t.Fatal(errs.String())
	}
	return out.String()
}

// TestCompletionScripts: each command and each flag is in each script, and the
// shells that are there take theirs.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range shells {
		text := script(t, shell)
		for _, c := range commands() {
			if !strings.Contains(text, c.name) {
				t.Errorf("%s: no %s", shell, c.name)
			}
		}
		file := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("no %s here; its script's syntax is not checked", shell)
			continue
		}
		if out, err := exec.CommandContext(t.Context(), path, "-n", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", shell, err, out)
		}
	}
	if st := Main(t.Context(), []string{"completion", "tcsh"}, nil, &bytes.Buffer{}, &bytes.Buffer{}, nil); st != ExitFailure {
		t.Error("completion for tcsh")
	}
}

// TestBashCompletion completes lines in bash itself.
func TestBashCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.cfg"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	const head = `xl() { printf '%s\n' "Name ID Mem VCPUs State Time(s)" "Domain-0 0 64 1 r----- 1.0" "debian 1 256 2 -b---- 1.0"; }
`
	for _, tt := range []struct{ line, want string }{
		{"xl unp", "unpause"},
		{"xl sched-", "sched-credit2"},
		{"xl pause ", "Domain-0 debian"},
		{"xl pause d", "debian"},
		{"xl pause debian ", ""},
		{"xl list debian d", "debian"},
		{"xl list --l", "--long"},
		{"xl -v list --l", "--long"},
		{"xl create a", "a.cfg"},
		{"xl create a.cfg vcp", "vcpus="},
		{"xl create -f a", "a.cfg"},
		{"xl create -f a.cfg ", "a.cfg"},
		{"xl trigger debian n", "nmi"},
		{"xl sched-credit2 -d d", "debian"},
		{"xl sched-credit2 -w ", ""},
		{"xl help xenstore-w", "xenstore-write xenstore-watch"},
		{"xl completion ", "bash zsh fish"},
		{"xl xentop -", "-b --batch -d --delay -i --iterations -v --vcpus"},
		{"xl nothing ", ""},
	} {
		words := strings.Split(tt.line, " ")
		var b strings.Builder
		b.WriteString(head + script(t, "bash"))
		fmt.Fprintf(&b, "COMP_WORDS=(")
		for _, w := range words {
			fmt.Fprintf(&b, " '%s'", w)
		}
		fmt.Fprintf(&b, ")\nCOMP_CWORD=%d\n_xl\necho \"${COMPREPLY[*]}\"\n", len(words)-1)
		cmd := exec.CommandContext(t.Context(), bash, "--norc", "-c", b.String())
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		got, want := strings.Fields(string(out)), strings.Fields(tt.want)
		slices.Sort(got)
		slices.Sort(want)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q", tt.line, got, err, want)
		}
	}
}

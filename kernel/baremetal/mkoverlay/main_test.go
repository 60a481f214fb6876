package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMoveWords has Go's own tests of memmove test the loop that it has here under an emulator.
func TestMoveWords(t *testing.T) {
	if testing.Short() {
		t.Skip("builds package runtime")
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "src")
	const file = "runtime/memmove_amd64.s"
	texts, err := apply(root, edits)
	if err != nil {
		t.Fatal(err)
	}
	const unlessAsked = "\tTESTB\t$4, AX\n\tJEQ\tmove_256through2048\n"
	if strings.Count(string(texts[file]), unlessAsked) != 1 {
		t.Fatalf("%s: the flag isn't asked for", file)
	}
	dir := t.TempDir()
	edited, list := filepath.Join(dir, "memmove.s"), filepath.Join(dir, "overlay.json")
	b, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, file): edited}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{edited: strings.Replace(string(texts[file]), unlessAsked, "", 1), list: string(b)} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("go", "test", "-overlay", list, "-short", "-count=1", "-run", "^TestMemmove", "runtime")
	c.Env = append(os.Environ(), "GODEBUG=cpu.avx=off,cpu.avx2=off") // with AVX it isn't taken
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out[:min(len(out), 2000)])
	}
}

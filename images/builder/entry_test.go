package builder

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Where code begins that runs outside Go's runtime: it has no P, so that it may not
// allocate, nor have write barriers, nor grow its stack.
var entries = []string{
	"nidus/kernel/baremetal.boot0", // before the runtime
	"nidus/kernel/baremetal.apBoot",
	"nidus/kernel/baremetal.kentry",
	"nidus/kernel/baremetal.nmiEntry",
	"nidus/kernel/baremetal.fatalDump",
	// by an interface
	"nidus/kernel/baremetal.physReader.ReadPhys",
	"nidus/kernel/baremetal.(*mmio).Load",
	"nidus/kernel/baremetal.(*mmio).Store",
	"nidus/kernel/virt/svm.(*vcpu).loop",
	"nidus/kernel/virt/vmx.(*vcpu).loop",
}

// indirect are the functions that call what they are given: a callback of their
// caller, which is looked at with it, or a method of an interface among entries.
var indirect = []string{
	"nidus/kernel/baremetal.free", "nidus/kernel/boot.(*Early).read",
	"nidus/drivers/ioapic.(*Chip).read", "nidus/drivers/ioapic.(*Chip).write",
}

// barriers are the functions that only boot0 calls: before the runtime runs, its
// flag for barriers is off.
var barriers = []string{"nidus/kernel/baremetal.framesInit"}

// outside is what such code may call beyond the project's own packages: code that
// neither allocates nor has barriers, and how a bug ends.
var outside = regexp.MustCompile(`^(runtime\.(memmove|memclrNoHeapPointers|memequal|duffzero|duffcopy|findfunc|funcname|panic\w*|goPanic\w*|gopanic|throw|deferreturn)|internal/runtime/atomic\.\w+)(\.abi0)?$`)

var barrier = regexp.MustCompile(`^runtime\.(gcWriteBarrier\d|wbZero|wbMove)$`)

// growth is the prologue's call: these functions have stand-in bounds that it is
// never taken with.
var growth = regexp.MustCompile(`^runtime\.morestack`)

// callees reads objdump's output: the functions, and what each calls or jumps to.
// Indirect calls, which are retpolines, are "*".
func callees(r io.Reader) (map[string][]string, error) {
	calls := map[string][]string{}
	direct := regexp.MustCompile(`\t(?:CALL|JMP) (\S+)\(SB\)`)
	register := regexp.MustCompile(`\tCALL [^\t]*[A-Z0-9]+\)?\s*$`)
	in := ""
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		l := lines.Text()
		if f, ok := strings.CutPrefix(l, "TEXT "); ok {
			in, _, _ = strings.Cut(f, "(SB)")
			calls[in] = nil
		} else if m := direct.FindStringSubmatch(l); m != nil {
			to := m[1]
			if strings.HasPrefix(to, "runtime.retpoline") {
				to = "*"
			}
			calls[in] = append(calls[in], to)
		} else if register.MatchString(l) {
			calls[in] = append(calls[in], "*")
		}
	}
	return calls, lines.Err()
}

var closure = regexp.MustCompile(`^(func|deferwrap|gowrap)\d`)

// violations walks from root and returns what is reached that may not be, each with
// the way to it.
func violations(calls map[string][]string, root string, allowed func(from, to string) bool) (bad []string) {
	seen := map[string]bool{root: true}
	names := slices.Sorted(maps.Keys(calls))
	var walk func(way []string)
	walk = func(way []string) {
		from := way[len(way)-1]
		next := slices.Clone(calls[from])
		for _, n := range names { // its closures, of defer too
			if s, ok := strings.CutPrefix(n, from+"."); ok && closure.MatchString(s) {
				next = append(next, n)
			}
		}
		for _, to := range next {
			here := append(slices.Clone(way), to)
			if _, own := calls[to]; !own {
				if !allowed(from, to) {
					bad = append(bad, strings.Join(here, " -> "))
				}
			} else if !seen[to] {
				seen[to] = true
				walk(here)
			}
		}
	}
	walk([]string{root})
	return bad
}

// dump is objdump's output about the image's entry code.
func dump(t *testing.T) []byte {
	if testing.Short() {
		t.Skip("links the image")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	elf := filepath.Join(dir, "nidus.elf")
	b := &Builder{Root: root, Say: io.Discard}
	if err := b.kernel("./kernel", filepath.Join(dir, "overlay"), elf); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "tool", "objdump", "-s", `^(nidus/(kernel/(baremetal|boot|cpu|evtchn|trace|virt|virt/spec|virt/svm|virt/vmx|virt/pv)|mm(/pvmmu)?|sched|drivers/ioapic)|sync/atomic|math/bits|encoding/binary)\.`, elf).Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestEntryCode links the image and follows the calls of the code that runs outside
// Go's runtime. A barrier is a call, and so is an allocation.
func TestEntryCode(t *testing.T) {
	out := dump(t)
	calls, err := callees(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, ok := calls[e]; !ok {
			t.Errorf("%s is not there", e)
		}
		for _, v := range violations(calls, e, func(from, to string) bool {
			switch {
			case to == "*": // or what it defers
				return slices.Contains(indirect, from) || slices.Contains(calls[from], "runtime.deferreturn")
			case barrier.MatchString(to):
				return slices.Contains(barriers, from)
			}
			return outside.MatchString(to) || growth.MatchString(to)
		}) {
			t.Errorf("not in entry code: %s", v)
		}
	}
	t.Run("registers", func(t *testing.T) { testFastExit(t, out, calls) })
}

// testFastExit: code that runs between a PV guest's exit and entry while SSE's registers are the guest's
// uses none but X15, and calls none that could.
func testFastExit(t *testing.T, out []byte, calls map[string][]string) {
	const root = "nidus/kernel/virt/pv.fastExit"
	in := map[string]bool{root: true}
	if _, ok := calls[root]; !ok {
		t.Fatalf("%s is not there", root)
	}
	for _, v := range violations(calls, root, func(from, to string) bool {
		// Panics end the host. copy is assembly, without SSE.
		return to == "copy" || growth.MatchString(to) || regexp.MustCompile(`^runtime\.(panic|goPanic|gopanic|throw)`).MatchString(to)
	}) {
		t.Errorf("not for fastExit: %s", v)
	}
	for work := []string{root}; len(work) > 0; work = work[1:] {
		for _, to := range calls[work[0]] {
			if !in[to] {
				in[to] = true
				work = append(work, to)
			}
		}
	}
	text := ""
	for l := range strings.Lines(string(out)) {
		if f, ok := strings.CutPrefix(l, "TEXT "); ok {
			text, _, _ = strings.Cut(f, "(SB)")
		} else if in[text] && sse.MatchString(l) {
			t.Errorf("%s: %s", text, strings.TrimSpace(l))
		}
	}
}

// sse is an instruction's operand that is one of X0 to X14, or of their YMM.
var sse = regexp.MustCompile(`[\s,][XY]([0-9]|1[0-4])(,|\s)`)

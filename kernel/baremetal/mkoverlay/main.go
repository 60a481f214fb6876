// Command mkoverlay writes the build overlay that lets the stock Go runtime run
// on bare metal: overlay.json and the generated files that it names.
//
// It edits the installed GOROOT's sources in seven ways, and stops if one of the
// places is not exactly as expected, so that a new Go release is looked at by a
// person before it is used:
//
//   - every SYSCALL of the runtime and of package syscall becomes a CALL of the
//     kernel (baremetal.callEntry), so LSTAR belongs to guests;
//   - settls tells the kernel the thread's FS base instead of asking Linux;
//   - exitThread leaves it to the kernel to say that the thread's stack is free: the
//     CALL still writes to it;
//   - memmove without AVX copies more than 2 KiB by its loop of 256 bytes, too, not byte
//     by byte, unless Go prefers REP MOVS on the processor; under an emulator more than
//     256 bytes by words;
//   - 32 MiB that only FIPS mode uses are not part of the image;
//   - the stacks of g0 and gsignal, which Go does not grow, get a guard page;
//   - package runtime gets the few names in _overlay/runtime.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// edit replaces what re matches, exactly want times.
type edit struct {
	file string
	re   *regexp.Regexp
	want int
	with string
}

const entry = "nidus∕kernel∕baremetal·callEntry(SB)"

// settls tells the kernel the thread's FS base: see setFS.
const settls = `TEXT runtime·settls(SB),NOSPLIT,$$0
	ADDQ	$$8, DI	// ELF wants to use -8(FS)
	CALL	nidus∕kernel∕baremetal·setFS(SB)
	RET

TEXT `

// The kernel's callExitThread stores the 0 when it has left the stack.
const exitThread = `${1}DI
	MOVL	$$0x1100, AX
	SYSCALL
`

// memmove's flag that nidusSlowStrings sets is 4. An emulator does loads and stores of 8 bytes twice as fast as
// those of 16, which it does in halves, by way of its copy of the register.
const moveWords = `	TESTB	$$4, AX
	JEQ$1
	SUBQ	$$64, BX
words:
	MOVQ	(SI), AX
	MOVQ	8(SI), CX
	MOVQ	16(SI), DX
	MOVQ	24(SI), R8
	MOVQ	32(SI), R9
	MOVQ	40(SI), R10
	MOVQ	48(SI), R11
	MOVQ	56(SI), R12
	MOVQ	AX, (DI)
	MOVQ	CX, 8(DI)
	MOVQ	DX, 16(DI)
	MOVQ	R8, 24(DI)
	MOVQ	R9, 32(DI)
	MOVQ	R10, 40(DI)
	MOVQ	R11, 48(DI)
	MOVQ	R12, 56(DI)
	ADDQ	$$64, SI
	ADDQ	$$64, DI
	SUBQ	$$64, BX
	JHS	words
	ADDQ	$$64, BX
	JMP	tail
`

var syscalls = regexp.MustCompile(`(?m)^\tSYSCALL[ \t]*$`)

var edits = []edit{
	{"runtime/sys_linux_amd64.s", regexp.MustCompile(`(?ms)^TEXT runtime·settls\(SB\).*?^TEXT `), 1, settls},
	{"runtime/sys_linux_amd64.s", regexp.MustCompile(`(?m)(^TEXT runtime·exitThread\(SB\),NOSPLIT,\$0-8\n\tMOVQ\twait\+0\(FP\), )AX\n.*\n\tMOVL\t\$0, \(AX\)\n\tMOVL\t\$0, DI.*\n\tMOVL\t\$SYS_exit, AX\n\tSYSCALL\n`), 1, exitThread},
	// A CALL makes the assembler save BP in $0 functions; the signal frame is
	// expected right at SP here.
	{"runtime/sys_linux_amd64.s", regexp.MustCompile(`sigreturn__sigaction\(SB\),NOSPLIT,\$0`), 1, `sigreturn__sigaction(SB),NOSPLIT|NOFRAME,$$0`},
	{"runtime/sys_linux_amd64.s", syscalls, 39, "\tCALL\t" + entry},
	{"runtime/time_linux_amd64.s", syscalls, 2, "\tCALL\t" + entry},
	{"internal/runtime/syscall/linux/asm_linux_amd64.s", syscalls, 1, "\tCALL\t" + entry},
	{"syscall/asm_linux_amd64.s", syscalls, 3, "\tCALL\t" + entry},
	{"runtime/proc.go", regexp.MustCompile(`mp\.g0 = malg\(16384 \* sys\.StackGuardMultiplier\)`), 1, `mp.g0 = guardedG()`},
	{"runtime/proc.go", regexp.MustCompile(`stackfree\((freem\.g0|mp\.gsignal)\.stack\)`), 2, `guardedFree($1.stack)`},
	{"crypto/internal/fips140/drbg/entropy_fips140.go", regexp.MustCompile(`(?m)^var memory entropy\.ScratchBuffer$`), 1, ""},
	{"crypto/internal/fips140/drbg/entropy_fips140.go", regexp.MustCompile(`entropy\.Seed\(&memory\)`), 2, `entropy.Seed(new(entropy.ScratchBuffer))`},
	{"runtime/memmove_amd64.s", regexp.MustCompile(`(?m)^\tCMPQ\tBX, \$2048\n\tJLS(\tmove_256through2048)\n`), 1, moveWords},
	{"runtime/os_linux.go", regexp.MustCompile(`mp\.gsignal = malg\(32 \* 1024\)`), 1, `mp.gsignal = guardedG()`},
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("mkoverlay: ")
	src := flag.String("src", "kernel/baremetal/_overlay", "folder of hand-written overlay sources")
	out := flag.String("o", "out/overlay", "output folder")
	flag.Parse()
	if err := run(*src, *out); err != nil {
		log.Fatal(err)
	}
}

func run(src, out string) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	b, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	root := filepath.Join(strings.TrimSpace(string(b)), "src")
	texts, err := apply(root, edits)
	if err != nil {
		return err
	}
	replace := map[string]string{}
	for file, text := range texts {
		dst := filepath.Join(out, strings.ReplaceAll(file, "/", "_"))
		if err := writeIfChanged(dst, text); err != nil {
			return err
		}
		replace[filepath.Join(root, file)] = dst
	}
	src, err = filepath.Abs(src)
	if err != nil {
		return err
	}
	added, err := filepath.Glob(filepath.Join(src, "*", "*"))
	if err != nil {
		return err
	}
	for _, f := range added {
		rel, err := filepath.Rel(src, f)
		if err != nil {
			return err
		}
		replace[filepath.Join(root, rel)] = f
	}
	b, err = json.MarshalIndent(map[string]any{"Replace": replace}, "", " ")
	if err != nil {
		return err
	}
	return writeIfChanged(filepath.Join(out, "overlay.json"), string(b)+"\n")
}

// apply returns the edited texts of the files that edits name.
func apply(root string, edits []edit) (map[string]string, error) {
	texts := map[string]string{}
	for _, e := range edits {
		s, ok := texts[e.file]
		if !ok {
			b, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				return nil, err
			}
			s = string(b)
		}
		if n := len(e.re.FindAllStringIndex(s, -1)); n != e.want {
			return nil, fmt.Errorf("%s: %q is there %d times, not %d: this Go release differs from the one that the overlay was made for; read the file's changes and adapt mkoverlay", e.file, e.re, n, e.want)
		}
		texts[e.file] = e.re.ReplaceAllString(s, e.with)
	}
	return texts, nil
}

// writeIfChanged keeps the file's time when nothing changed, for the build cache.
func writeIfChanged(file, text string) error {
	if old, err := os.ReadFile(file); err == nil && string(old) == text {
		return nil
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

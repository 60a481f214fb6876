package regress

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"nidus/images/builder"
	"nidus/images/debian"
	"nidus/images/qemu"
)

func vmxHello() Case {
	return Case{Name: "vmx-hello", What: "a guest under VMX, in Bochs", Timeout: 5 * time.Minute, Run: bochsHello}
}

// bochsHello boots with the word vmx-hello, which has the image run a guest of
// its own under VMX and say how it went.
func bochsHello(t *T) error {
	h, err := t.bochs("corei7_skylake_x", 1, "vmx-hello")
	if err != nil {
		return err
	}
	defer keepLog(t)
	m, err := h.expect(`vmx-hello: (PASS|FAIL)([^\r\n]*)`, 4*time.Minute)
	if err != nil {
		return err
	}
	if m.Groups[1] != "PASS" {
		return fmt.Errorf("the image says:%s", m.Groups[2])
	}
	return nil
}

// bochsConfig boots the ISO on a model of a processor; COM1 goes to a FIFO, from which we read it.
const bochsConfig = `display_library: x
cpu: model=%s, count=%d, ips=100000000, reset_on_triple_fault=0
memory: guest=512, host=512
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
boot: cdrom
ata0-master: type=cdrom, path=%q, status=inserted
com1: enabled=1, mode=file, dev=%q
log: bochs.log
panic: action=fatal
error: action=report
speaker: enabled=0, mode=none
`

// bochs boots CPUs of a model of Bochs's, with words added to the command line and modules. The
// host has no input.
func (t *T) bochs(model string, cpus int, line string, modules ...string) (*Host, error) {
	if err := debian.Install(t.Say, "bochs", "bochs-x", "bochsbios", "vgabios", "xvfb", "xauth"); err != nil {
		return nil, err
	}
	iso, err := t.MakeISO(builder.ISO{Name: filepath.Join("regress", t.name+".iso"), Protocol: builder.Multiboot1, CommandLine: CommandLine + " " + line, Modules: modules})
	if err != nil {
		return nil, err
	}
	t.open = append(t.open, func() error { return os.Remove(iso) })
	// Bochs writes COM1 to a file; tail makes of it the output that we expect on.
	if err := t.file("bochsrc", fmt.Appendf(nil, bochsConfig, model, cpus, iso, "com1")); err != nil {
		return nil, err
	}
	if err := t.file("debugger", []byte("c\n")); err != nil {
		return nil, err
	}
	if err := t.file("com1", nil); err != nil {
		return nil, err
	}
	bochs, err := exec.LookPath("bochs")
	if err != nil {
		return nil, err
	}
	script := `xvfb-run -a "$0" -q -f bochsrc -rc debugger >bochs.out 2>&1 & exec tail -n +1 --pid=$! -f com1`
	return t.start(Boot{NoPrompt: true}, []string{"sh", "-c", script, bochs})
}

// keepLog adds what Bochs itself said to the case's log.
func keepLog(t *T) {
	for _, name := range []string{"bochs.out", "bochs.log"} {
		if b, err := os.ReadFile(filepath.Join(t.dir, name)); err == nil {
			qemu.AppendLog(t.log, name, b)
		}
	}
}

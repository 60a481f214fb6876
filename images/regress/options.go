package regress

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nidus/images/builder"
	"nidus/images/qemu"
)

func optionCases() []Case {
	return []Case{
		{Name: "boot-options", What: "boot options that promise something: consoles, clocks, protection, dom0_mem", Timeout: 2 * time.Minute, Run: bootOptions},
		{Name: "pvh-options", What: "a guest with options of host and configuration that change what it sees", Timeout: 4 * time.Minute,
			Needs: []string{builder.Vmlinux, builder.Initrd}, Run: guestOptions},
	}
}

// bootOptions boots with several options at once and looks for the effect of each;
// then without any serial line.
func bootOptions(t *T) error {
	com2 := filepath.Join(t.dir, "com2")
	h, err := t.boot(Boot{
		CPUs: 2,
		Line: "console=com2,com1,vga com1=auto,,,0 dom0_mem=min:90M,80M,max:1G clocksource=acpi tsc=skewed smep=off smap=hvm -- root=/dev/sda",
		Args: []string{"-serial", "file:" + com2},
	})
	if err != nil {
		return err
	}
	// Typed on the polled port.
	log, err := h.mustDo("xl dmesg")
	if err != nil {
		return err
	}
	for _, want := range []string{
		`"root=/dev/sda" after " -- " is for the kernel of a dom0`,
		`heap keeps to 90 MiB`, `MHz by PM timer`, `tsc=skewed: guests get an emulated one`,
		`SMEP false \(smep=off\), SMAP false \(smap=hvm\)`,
	} {
		if !contains(log, want) {
			return fmt.Errorf("the log does not say %q: %q", want, log)
		}
	}
	if err := h.powerOff(); err != nil {
		return err
	}
	second, err := os.ReadFile(com2)
	if err != nil {
		return err
	}
	for _, want := range []string{"(NID) ", "Serial input to Nidus", "xl dmesg", "90 MiB"} {
		if !strings.Contains(string(second), want) {
			return fmt.Errorf("COM2 does not show %q: %q", want, second)
		}
	}
	for _, line := range []string{"console=none", "console=vga"} {
		if err := silent(t, line); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return nil
}

// silent boots a host that has no serial line, and so no shell. It says nothing
// there, not even that it died: with only a screen it would.
func silent(t *T, line string) error {
	h, err := t.boot(Boot{Line: line + " noreboot=no", NoPrompt: true})
	if err != nil {
		return err
	}
	defer h.Close()
	const bootAndMore = 4 * time.Second
	m, err := h.expect(`\(NID\)|nidus#|fatal|FATAL`, bootAndMore)
	switch {
	case errors.Is(err, qemu.ErrTimeout):
		return nil
	case err == nil:
		return fmt.Errorf("COM1 shows %q", m.Before)
	}
	return err
}

// guestOptions runs a guest under a host without SMEP, whose TSC is emulated.
func guestOptions(t *T) error {
	h, err := t.bootGuests(Boot{CPUs: 3, Line: "smep=no smap=hvm"}, []string{builder.Vmlinux, builder.Initrd}, map[string][]byte{
		"g.cfg": linux("g", builder.Vmlinux, 1, "shell", `tsc_mode = "always_emulate"`, "max_grant_version = 1", "nomigrate = 0")})
	if err != nil {
		return err
	}
	if err := h.guestShell(1, 3*time.Minute); err != nil {
		return err
	}
	for _, c := range []struct{ command, want string }{
		{`grep -c -w smep /proc/cpuinfo`, `\n0\r?\n`},
		{`grep -c -w smap /proc/cpuinfo`, `\n1\r?\n`},
		{`grep -c -w nonstop_tsc /proc/cpuinfo`, `\n0\r?\n`},
		{`cat /sys/devices/system/clocksource/*/current_clocksource`, `\nxen\r?\n`},
		{`dmesg | grep -o 'Detected 1000.000 MHz'`, `\nDetected 1000.000 MHz`},
		{`dmesg | grep -o 'using version . layout'`, `\nusing version 1 layout`},
	} {
		if err := h.Send(c.command + "\r"); err != nil {
			return err
		}
		if _, err := h.expect(c.want, 20*time.Second); err != nil {
			return fmt.Errorf("%s: %w", c.command, err)
		}
	}
	if err := clockOf(h); err != nil {
		return err
	}
	if err := h.leave(); err != nil {
		return err
	}
	if _, err := h.mustDo("xl destroy g"); err != nil {
		return err
	}
	return h.powerOff()
}

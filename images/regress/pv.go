package regress

import (
	"bytes"
	"fmt"
	"time"

	"nidus/images/builder"
)

// personality is how a guest is run, and what the emulator has to be for it.
type personality struct {
	kind string // a configuration's type
	cpu  string // QEMU's -cpu, if not QEMUArgs's
	line string // added to Nidus's command line
}

// Under QEMU 7.2 a PV guest's kernel dies with SMAP on; without it, pv-nosmap spares Nidus
// two changes of CR3 for each exit.
var (
	pvh = personality{kind: "pvh"}
	pv  = personality{"pv", "EPYC,+svm,+npt,-smap", "pv-nosmap"}
	// The other two ways to run PV guests (docs/address-space.md).
	pvSMAP     = personality{kind: "pv"}
	pvHostView = personality{kind: "pv", cpu: "EPYC,+svm,+npt,-smap"}
	// A processor that can run no others.
	pvAlone = personality{"pv", "EPYC,-svm,-npt,-smap", "pv-nosmap"}
	// A processor of 2010: each of what it lacks is there on others in another way.
	pvOld = personality{"pv", "EPYC,+svm,+npt,-smap,-smep,-fsgsbase,-xsave,-avx,-avx2,-f16c,-fma", "pv-nosmap"}
)

// host makes a host for such guests of one for any.
func (p personality) host(b Boot) Boot {
	b.CPU = p.cpu
	if p.line != "" {
		b.Line = p.line + " " + b.Line
	}
	return b
}

// guest makes a configuration of such a guest of a PVH one's.
func (p personality) guest(cfg []byte) []byte {
	return bytes.Replace(cfg, []byte(`type = "pvh"`), fmt.Appendf(nil, "type = %q", p.kind), 1)
}

func pvCases() []Case {
	debian := []string{builder.Vmlinuz, builder.Vmlinux, builder.Initrd}
	return []Case{
		{Name: "pv-debian-vmlinux", What: "Debian's kernel as a PV guest, an ELF file: its shell, a clean shutdown", Needs: debian, Timeout: 3 * time.Minute, Run: func(t *T) error {
			return debianGuest(t, pv, builder.Vmlinux, 1)
		}},
		{Name: "pv-debian-bzimage", What: "the same as a bzImage", Needs: debian, Timeout: 4 * time.Minute, Run: func(t *T) error {
			return debianGuest(t, pv, builder.Vmlinuz, 1)
		}},
		{Name: "pv-avx", What: "the threads of two PV guests keep different things in the AVX registers", Needs: debian, Timeout: 3 * time.Minute, Run: func(t *T) error { return avxGuests(t, pv) }},
		{Name: "pv-smp4", What: "a PV guest's four vcpus on three CPUs", Needs: debian, Timeout: 4 * time.Minute, Run: func(t *T) error {
			return debianGuest(t, pv, builder.Vmlinux, 4)
		}},
		{Name: "pv-debian-disk-root", What: "a PV guest's root is ext4 on /dev/xvda: what it writes comes back, and nothing is lost of the host",
			Needs: []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}, Timeout: 5 * time.Minute, Run: func(t *T) error { return diskRoot(t, pv) }},
		{Name: "pv-fork-storm", Long: true, What: "a PV guest makes 10,000 processes; no frame is missing afterwards", Needs: debian, Timeout: 10 * time.Minute, Run: forkStorm},
		{Name: "pv-hostile", What: "a PV guest tries to get at frames, tables and registers that aren't its own: what Xen refuses, is refused",
			Needs: []string{builder.PVHostile, builder.Vmlinux, builder.Initrd}, Timeout: 4 * time.Minute, Run: pvHostile},
		{Name: "pv-grants", What: "two PV guests share pages by mapping and copying; the pages outlive who granted them",
			Needs: []string{builder.Vmlinux, builder.Initrd}, Timeout: 3 * time.Minute, Run: func(t *T) error { return sharedPages(t, pv) }},
		{Name: "pv-balloon", What: "a PV guest gives frames back, gets others, and exchanges them; the machine-to-physical table follows",
			Needs: []string{builder.PVBalloon}, Timeout: 2 * time.Minute, Run: pvBalloon},
		{Name: "pv-pvgrub64", What: "GRUB as a PV guest finds the menu on the guest's own disk, and boots its kernel",
			Needs: []string{builder.PVGrub64, builder.GrubDisk}, Timeout: 4 * time.Minute, Run: grubDisk},
		{Name: "pv32-smp", What: "a 32-bit PV guest starts its other three vcpus; they answer each event, and count together",
			Needs: []string{builder.PV32SMP}, Timeout: 2 * time.Minute, Run: pv32SMP},
		{Name: "pv-modules", What: "PV guests of 64 and 32 bits find several modules, with their command lines",
			Needs: []string{builder.PVModules, builder.PV32Modules}, Timeout: 2 * time.Minute, Run: pvModules},
		{Name: "pv32-hostile", What: "a 32-bit PV guest tries what only such guests can: its page directory, the hypervisor's part of its 4 GiB, segments, gates, iret",
			Needs: []string{builder.PV32Hostile, builder.Vmlinux, builder.Initrd}, Timeout: 3 * time.Minute, Run: pv32Hostile},
		{Name: "pv-smap", What: "PV guests behind SMAP: 32-bit vcpus that count together, and what hostile guests get",
			Needs: []string{builder.PV32SMP, builder.PVHostile, builder.PV32Hostile}, Timeout: 3 * time.Minute, Run: func(t *T) error { return pvLane(t, pvSMAP, `behind SMAP`, nil) }},
		{Name: "pv-host-view", What: "the same, and Debian's kernel, where each exit changes page tables",
			Needs: append(debian, builder.PV32SMP, builder.PVHostile, builder.PV32Hostile), Timeout: 4 * time.Minute, Run: func(t *T) error { return pvLane(t, pvHostView, `each exit .* changes page tables`, debian) }},
		{Name: "pv-xpti", What: "while PV guests of both widths run, the hypervisor is mapped, or isolated from them: where xpti= wants that, and on a processor of Intel's",
			Needs: []string{builder.PV32SMP, builder.Vmlinux, builder.Initrd}, Timeout: 4 * time.Minute, Run: pvXPTI},
		{Name: "pv-kept", What: "a PV guest takes pages from a vcpu that sleeps, and may make page tables of them: the vcpu finds what is there when it wakes",
			Needs: []string{builder.PVKept}, Timeout: 2 * time.Minute, Run: pvKept},
		{Name: "pv-pcid", What: "a PV guest's kernel and process read what their own page tables say, in Bochs, where the TLB is tagged and where it isn't",
			Needs: []string{builder.PVPCID, builder.PVPCIDCfg}, Timeout: 5 * time.Minute, Run: pvPCID},
		{Name: "pv-xpti-hostile", Long: true, What: "isolated: 32-bit vcpus that count together, and what hostile guests get",
			Needs: []string{builder.PV32SMP, builder.PVHostile, builder.PV32Hostile}, Timeout: 4 * time.Minute, Run: func(t *T) error { return pvLane(t, pvIsolated, `guests are isolated`, nil) }},
		{Name: "pv-no-svm", What: "on a processor without virtualization PV guests run, and PVH ones are refused",
			Needs: []string{builder.PV32SMP, builder.Vmlinux, builder.Initrd}, Timeout: 3 * time.Minute, Run: pvOnly},
		{Name: "pv-old-cpu", What: "on a processor without FSGSBASE, XSAVE and SMEP PV and PVH guests run",
			Needs: []string{builder.PV32SMP, builder.Vmlinux, builder.Initrd}, Timeout: 3 * time.Minute, Run: pvOldCPU},
		{Name: "pv-mixed", What: "a 64-bit PV guest, a 32-bit one and a PVH one at once; one ends amid its forks, the others go on",
			Needs: append(debian, builder.PV32SMP), Timeout: 4 * time.Minute, Run: pvMixed},
		{Name: "pv-pvgrub32", What: "GRUB as a PV guest of 32 bits, to its prompt", Needs: []string{builder.PVGrub32}, Timeout: 2 * time.Minute, Run: func(t *T) error { return pvgrub(t, pv, builder.PVGrub32) }},
		{Name: "pv-gnumach", What: "GNU Mach of Debian's i386, a PV kernel of 32 bits, asks for its boot modules", Needs: []string{builder.GNUMach}, Timeout: 2 * time.Minute, Run: gnuMach},
	}
}

// forkStorm has a guest make processes, twice, and destroys it. What the first one left
// warm is no loss.
func forkStorm(t *T) error {
	h, err := t.bootGuests(pv.host(Boot{CPUs: 3}), []string{builder.Vmlinux, builder.Initrd},
		map[string][]byte{"g.cfg": pv.guest(linux("g", builder.Vmlinux, 2, "forks forks=10000"))})
	if err != nil {
		return err
	}
	before, err := h.guestFrames()
	if err != nil {
		return err
	}
	if err := h.Send("xl create -c g.cfg\r"); err != nil {
		return err
	}
	if _, err := h.guestUp(2, time.Minute); err != nil {
		return err
	}
	if _, err := h.expect(`NIDUS-GUEST-FORKS 10000`, 9*time.Minute); err != nil {
		return err
	}
	if err := h.prompt(20 * time.Second); err != nil { // it powers itself off
		return err
	}
	if err := h.gone("g", 20*time.Second); err != nil {
		return err
	}
	if err := h.framesAgain(before); err != nil {
		return err
	}
	return h.powerOff()
}

// pvBalloon runs the guest pv-balloon, twice: nothing is lost.
func pvBalloon(t *T) error {
	h, err := t.bootGuests(pv.host(Boot{}), []string{builder.PVBalloon}, map[string][]byte{"g.cfg": pv.guest(config("g", builder.PVBalloon, 1, 32))})
	if err != nil {
		return err
	}
	frames, err := h.guestFrames()
	if err != nil {
		return err
	}
	for range 2 {
		if err := h.Send("xl create -c g.cfg\r"); err != nil {
			return err
		}
		m, err := h.expect(`PV-BALLOON (PASS|FAIL [^\r\n]*)[\r\n]|PV unexpected [^\r\n]*[\r\n]`, time.Minute)
		if err != nil {
			return err
		}
		if m.Groups[1] != "PASS" {
			return fmt.Errorf("the guest says: %s", m.Groups[0])
		}
		if err := h.prompt(20 * time.Second); err != nil { // the console ends with its domain
			return err
		}
		if err := h.gone("g", 20*time.Second); err != nil {
			return err
		}
		if err := h.framesAgain(frames); err != nil {
			return err
		}
	}
	return h.powerOff()
}

// pvKept runs the guest pv-kept.
func pvKept(t *T) error {
	h, err := t.bootGuests(pv.host(Boot{CPUs: 3}), []string{builder.PVKept}, map[string][]byte{"g.cfg": pv.guest(config("g", builder.PVKept, 2, 32))})
	if err != nil {
		return err
	}
	if err := h.Send("xl create -c g.cfg\r"); err != nil {
		return err
	}
	m, err := h.expect(`PV-KEPT (PASS|FAIL [^\r\n]*)[\r\n]|PV unexpected [^\r\n]*[\r\n]`, time.Minute)
	if err != nil {
		return err
	}
	if m.Groups[1] != "PASS" {
		return fmt.Errorf("the guest says: %s", m.Groups[0])
	}
	if err := h.prompt(20 * time.Second); err != nil { // the console ends with its domain
		return err
	}
	return h.powerOff()
}

// pv32SMP reads what the guest pv32-smp counts.
func pv32SMP(t *T) error {
	h, err := t.bootGuests(pv.host(Boot{CPUs: 3}), []string{builder.PV32SMP}, map[string][]byte{"g.cfg": pv.guest(config("g", builder.PV32SMP, 4, 32))})
	if err != nil {
		return err
	}
	if err := h.pv32Counts("g"); err != nil {
		return err
	}
	return h.powerOff()
}

// pv32Counts runs the guest pv32-smp, whose configuration is name.cfg, to its end.
func (h *Host) pv32Counts(name string) error {
	if err := h.Send("xl create -c " + name + ".cfg\r"); err != nil {
		return err
	}
	m, err := h.expect(`PV32-SMP (PASS|FAIL [^\r\n]*)[\r\n]|PV unexpected [^\r\n]*[\r\n]`, time.Minute)
	if err != nil {
		return err
	}
	if m.Groups[1] != "PASS" {
		return fmt.Errorf("the guest says: %s", m.Groups[0])
	}
	for _, want := range []string{"online 3", "events 3000", "answers 3000", "own TSC_AUX 3", "total 300000"} {
		if !contains(m.Before, `PV32-SMP `+want+` \r*\n`) {
			return fmt.Errorf("no %q in %q", want, m.Before)
		}
	}
	if err := h.prompt(20 * time.Second); err != nil { // the console ends with its domain
		return err
	}
	return h.gone(name, 20*time.Second)
}

// pvMixed has guests of three kinds tick side by side, and destroys one that forks.
func pvMixed(t *T) error {
	h, err := t.bootGuests(pv.host(Boot{CPUs: 3, MemoryMiB: 1536}), []string{builder.Vmlinux, builder.Initrd, builder.PV32SMP}, map[string][]byte{
		"pvh.cfg":   linux("pvh", builder.Vmlinux, 1, "tick"),
		"pv64.cfg":  pv.guest(linux("pv64", builder.Vmlinux, 1, "tick")),
		"pv32.cfg":  pv.guest(config("pv32", builder.PV32SMP, 1, 32, `extra = "tick"`)),
		"forks.cfg": pv.guest(linux("forks", builder.Vmlinux, 2, "forks forks=1000000")),
	})
	if err != nil {
		return err
	}
	names := []string{"pvh", "pv64", "pv32"}
	for _, n := range names {
		if _, err := h.mustDo("xl create %s.cfg", n); err != nil {
			return err
		}
	}
	tick := func() error {
		for _, n := range names {
			if err := h.ticks(n, 3, time.Minute); err != nil {
				return err
			}
		}
		return nil
	}
	if err := tick(); err != nil {
		return err
	}
	frames, err := h.guestFrames()
	if err != nil {
		return err
	}
	if err := h.Send("xl create -c forks.cfg\r"); err != nil {
		return err
	}
	if _, err := h.guestUp(2, time.Minute); err != nil {
		return err
	}
	if err := h.leave(); err != nil {
		return err
	}
	if err := tick(); err != nil {
		return err
	}
	if _, err := h.mustDo("xl destroy forks"); err != nil {
		return err
	}
	if err := h.gone("forks", 20*time.Second); err != nil {
		return err
	}
	if err := h.framesAgain(frames); err != nil {
		return err
	}
	if err := tick(); err != nil {
		return err
	}
	return h.powerOff()
}

// grubDisk chooses the second entry of a menu that waits, and sees the disk's own init.
func grubDisk(t *T) error {
	cfg := pv.guest(config("g", builder.PVGrub64, 1, 256, `disk = [ "file:/`+builder.GrubDisk+`,xvda,w" ]`))
	// The module is found by the short name of what it is.
	cfg = bytes.Replace(cfg, []byte("kernel ="), []byte("firmware ="), 1)
	h, err := t.bootGuests(pv.host(Boot{CPUs: 3}), []string{builder.PVGrub64, builder.GrubDisk}, map[string][]byte{"g.cfg": cfg})
	if err != nil {
		return err
	}
	if err := h.Send("xl create -c g.cfg\r"); err != nil {
		return err
	}
	if err := h.grubMenu(); err != nil {
		return err
	}
	if err := h.prompt(time.Minute); err != nil { // the console ends with its domain
		return err
	}
	if err := h.gone("g", 20*time.Second); err != nil {
		return err
	}
	return h.powerOff()
}

// grubMenu is the part of grubDisk at the guest's console.
func (h *Host) grubMenu() error {
	if _, err := h.expect(`Nidus: the kernel of this disk`, time.Minute); err != nil {
		return err
	}
	if err := h.Send("\x0e\r"); err != nil { // down
		return err
	}
	for _, line := range []string{`NIDUS-GUEST-UP`, `NIDUS-ROOT-UP /dev/xvda / ext4 rw`, `NIDUS-ROOT-OK [0-9a-f]{32}`, `NIDUS-ROOT-RO`} {
		if _, err := h.expect(line, 2*time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// gnuMach has no modules to boot: it says so, and ends its domain. Until then it has built its
// page tables, of which Debian's build 1.8+git20221224 writes the page directory by MOV without
// having asked for that, and has bound its interrupts by event_channel_op_compat. (The one of 64
// bits dies on Xen 4.17 too.)
func gnuMach(t *T) error {
	h, err := t.bootGuests(pv.host(Boot{}), []string{builder.GNUMach}, map[string][]byte{"mach.cfg": pv.guest(config("mach", builder.GNUMach, 1, 128))})
	if err != nil {
		return err
	}
	if err := h.Send("xl create -c mach.cfg\r"); err != nil {
		return err
	}
	for _, line := range []string{`vm_page: DIRECTMAP: pages: \d+ \(112M\)`, `No bootstrap code loaded with the kernel!`, `\(mach\) ended: crash; action: destroy`} {
		if _, err := h.expect(line, time.Minute); err != nil {
			return err
		}
	}
	if err := h.prompt(10 * time.Second); err != nil { // the console ends with its domain
		return err
	}
	if err := h.gone("mach", 10*time.Second); err != nil {
		return err
	}
	return h.powerOff()
}

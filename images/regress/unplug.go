package regress

import (
	"fmt"
	"strings"
	"time"

	"nidus/images/builder"
)

// hostUnplugCases take the host's devices away.
func hostUnplugCases() []Case {
	return []Case{{Name: "host-unplug", What: "disks and network cards are taken out of their slots, asked and unasked; a guest that has them gets errors, and lives",
		Needs: []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}, Timeout: 4 * time.Minute, Run: hostUnplug}}
}

// slots are QEMU's arguments for four PCI Express slots with a device each, and a monitor.
// Who owns the hot plugging of slots, they or ACPI, is for all of them.
func (t *T) slots(native bool) ([]string, error) {
	args := monitorArgs()
	if native {
		args = append(args, "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off")
	}
	for i, device := range []string{"virtio-blk-pci,drive=d1", "virtio-net-pci,netdev=n2", "nvme,drive=d3,serial=1", "e1000e,netdev=n4"} {
		n := i + 1
		kind, _, _ := strings.Cut(device, ",")
		if strings.Contains(device, "drive") {
			if err := t.file(fmt.Sprintf("d%d.img", n), make([]byte, 8<<20)); err != nil {
				return nil, err
			}
			args = append(args, "-drive", fmt.Sprintf("file=d%d.img,if=none,id=d%d,format=raw", n, n))
		} else {
			args = append(args, "-netdev", fmt.Sprintf("user,id=n%d", n))
		}
		args = append(args, "-device", fmt.Sprintf("pcie-root-port,id=port%d,chassis=%d,slot=%d", n, n, n),
			"-device", fmt.Sprintf("%s,id=%s,bus=port%d", device, kind, n))
	}
	return args, nil
}

// ask gives QEMU's monitor commands.
func (t *T) ask(commands ...string) error {
	m, err := t.monitor()
	if err != nil {
		return err
	}
	defer m.Close()
	return m.do(strings.Join(commands, "\n"))
}

func hostUnplug(t *T) error {
	if err := unplugAsked(t); err != nil {
		return fmt.Errorf("asked: %w", err)
	}
	if err := unplugUnasked(t); err != nil {
		return fmt.Errorf("unasked: %w", err)
	}
	return nil
}

// unplugAsked presses the slots' buttons while a guest uses the disks.
func unplugAsked(t *T) error {
	args, err := t.slots(true)
	if err != nil {
		return err
	}
	h, err := t.bootGuests(Boot{CPUs: 3, Args: args}, []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage},
		map[string][]byte{"g.cfg": diskGuest(1, "shell", rootDisk, "phy:/dev/vda,xvdb,w", "phy:/dev/nvme0n1,xvdc,w")})
	if err != nil {
		return err
	}
	if err := h.rootUp(); err != nil {
		return err
	}
	// What a console showed before is shown again: each answer has a word of its own.
	read := func(disk, word string) string {
		return "dd if=/dev/" + disk + " of=/dev/null bs=4096 count=16 iflag=direct 2>/dev/null; echo " + word + "$?"
	}
	if err := h.inTurn([]turn{{"", read("xvdb", "first"), "first0"}, {"", read("xvdc", "second"), "second0"}}); err != nil {
		return err
	}
	if err := t.ask("device_del virtio-blk-pci", "device_del virtio-net-pci", "device_del nvme", "device_del e1000e"); err != nil {
		return err
	}
	for _, line := range []string{`PCI slot 1: it is empty now`, `PCI slot 2: it is empty now`, `PCI slot 3: it is empty now`, `PCI slot 4: it is empty now`} {
		if _, err := h.expect(line, 30*time.Second); err != nil {
			return err
		}
	}
	if err := h.inTurn([]turn{{"", read("xvdb", "third"), "third1"}, {"", read("xvdc", "fourth"), "fourth1"}, {"", read("xvda", "fifth"), "fifth0"}}); err != nil {
		return err
	}
	if _, err := h.mustDo("xl destroy g"); err != nil {
		return err
	}
	return h.powerOff()
}

// unplugUnasked pulls the devices out, all at once.
func unplugUnasked(t *T) error {
	args, err := t.slots(false)
	if err != nil {
		return err
	}
	h, err := t.boot(Boot{CPUs: 2, Args: args})
	if err != nil {
		return err
	}
	var commands []string
	for bus := range 6 { // the slots are in some of the buses that QEMU numbers (hmp.pull)
		commands = append(commands, fmt.Sprintf("o /4 0xcd0 %d", bus), "o /4 0xcc8 1")
	}
	if err := t.ask(commands...); err != nil {
		return err
	}
	for _, what := range []string{"01:00.0: it was pulled out: /dev/vda", "03:00.0: it was pulled out: /dev/nvme0n1", "02:00.0: it was pulled out: eth0", "04:00.0: it was pulled out: eth1"} {
		if _, err := h.expect(what, 20*time.Second); err != nil {
			return err
		}
	}
	out, err := h.mustDo("xl dmesg")
	if err != nil {
		return err
	}
	for _, bad := range []string{"it is not reset", "shuts down", "can't be"} {
		if strings.Contains(out, bad) {
			return fmt.Errorf("xl dmesg has %q", bad)
		}
	}
	return h.powerOff()
}

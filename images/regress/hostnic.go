package regress

import (
	"fmt"
	"regexp"
	"time"
)

// hostNICCases show the host's own network cards.
func hostNICCases() []Case {
	return []Case{{Name: "host-virtio-net", What: "the driver of QEMU's virtio-net cards finds and pings the gateway; cards are found at boot",
		Timeout: 3 * time.Minute, Run: virtioNet}, {Name: "host-e1000e", What: "the driver of Intel's network cards finds and pings the gateway on QEMU's e1000e and e1000; cards are found at boot",
		Timeout: 3 * time.Minute, Run: intelNet}}
}

// userNIC are QEMU's arguments for a card in its user network, with a record of all frames.
func userNIC(device, record string) []string {
	return []string{"-netdev", "user,id=n", "-object", "filter-dump,id=f,netdev=n,file=" + record, "-device", device + ",netdev=n"}
}

// virtioNet has the self-test drive a card in the ways that QEMU offers one, and looks at
// what went over the wire; the image then finds it.
func virtioNet(t *T) error {
	if err := t.SelfTest(); err != nil {
		return err
	}
	for _, c := range []struct {
		cpus    int
		options string
	}{
		{1, ""}, // "transitional"
		{1, ",disable-modern=on"},
		{2, ",disable-modern=on,mrg_rxbuf=off,any_layout=off,host_mtu=4000"},
		{4, ",disable-legacy=on,mq=on,vectors=10"},
		{2, ",disable-legacy=on,mrg_rxbuf=off,indirect_desc=off,host_mtu=9000"},
		{2, ",disable-legacy=on,event_idx=off,ctrl_vq=off,csum=off,guest_csum=off,gso=off,packed=on"}, // packed isn't taken
	} {
		if err := t.pings(c.cpus, "virtio-net-pci"+c.options); err != nil {
			return err
		}
	}
	return t.findsNIC("virtio-net-pci", `network card eth0: 52:54:00:12:34:56, MTU 1500, virtio-net at \S+`)
}

// intelNet is virtioNet for the models of Intel's cards: with MSI-X, and without messages.
func intelNet(t *T) error {
	if err := t.SelfTest(); err != nil {
		return err
	}
	for _, c := range []struct {
		cpus   int
		device string
	}{{1, "e1000e"}, {4, "e1000e"}, {1, "e1000"}, {2, "e1000-82545em"}} {
		if err := t.pings(c.cpus, c.device); err != nil {
			return err
		}
	}
	return t.findsNIC("e1000e", `network card eth0: 52:54:00:12:34:56, MTU 1500, e1000 at \S+, does checksums, cuts TCP`)
}

// pings has the self-test use a card, and looks at what QEMU recorded.
func (t *T) pings(cpus int, device string) error {
	if err := t.selfTest(cpus, "only=nic", time.Minute, userNIC(device, "net.pcap")...); err != nil {
		return fmt.Errorf("%d CPUs, %s: %w", cpus, device, err)
	}
	if err := t.sound("net.pcap"); err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	return nil
}

// findsNIC boots the image with a card and looks for a line in its log.
func (t *T) findsNIC(device, line string) error {
	h, err := t.boot(Boot{Args: userNIC(device, "boot.pcap")})
	if err != nil {
		return err
	}
	out, err := h.mustDo("xl dmesg")
	if err != nil {
		return err
	}
	if !regexp.MustCompile(line).MatchString(out) {
		return fmt.Errorf("xl dmesg has no %q", line)
	}
	return h.powerOff()
}

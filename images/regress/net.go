package regress

import (
	"fmt"
	"strings"
	"time"

	"nidus/images/builder"
)

func netCases() []Case {
	needs := []string{builder.Vmlinux, builder.Initrd}
	return []Case{
		{Name: "net-bridge-two-guests", What: "two guests ping each other and send 8 MiB by TCP on a bridge; a VLAN of it is another network", Needs: needs, Timeout: 5 * time.Minute, Run: bridgeGuests},
		{Name: "net-hotplug", What: "interfaces are attached and detached while TCP runs over others and over themselves", Needs: needs, Timeout: 4 * time.Minute, Run: netHotplug},
		{Name: "net-rate", What: "rate=2Mb/s holds within 5 %", Needs: needs, Timeout: 4 * time.Minute, Run: netRate},
	}
}

// netGuest is a configuration of Debian's kernel with an interface that has an address.
func netGuest(name, addr, vif string) []byte {
	return config(name, builder.Vmlinux, 1, 128, fmt.Sprintf("ramdisk = %q\nvif = [ %s ]", builder.Initrd, vif),
		fmt.Sprintf("extra = %q", "console=hvc0 loglevel=4 panic=1 net="+addr+" test=shell"))
}

// startNet creates a guest with a network and leaves it at its shell.
func (h *Host) startNet(name string) error {
	if err := h.Send("xl create -c " + name + ".cfg\r"); err != nil {
		return err
	}
	if _, err := h.expect(`NIDUS-GUEST-NET `, 2*time.Minute); err != nil {
		return err
	}
	if _, err := h.expect(`guest# `, time.Minute); err != nil {
		return err
	}
	return h.leave()
}

// inGuest types a line into a guest's shell, and waits for what it prints. The console shows
// what was printed before again: want must not match that, nor the line.
func (h *Host) inGuest(name, line, want string, timeout time.Duration) ([]string, error) {
	if err := h.Send("xl console " + name + "\r"); err != nil {
		return nil, err
	}
	if err := h.Send("\r" + line + "\r"); err != nil {
		return nil, err
	}
	m, err := h.expect(want, timeout)
	if err != nil {
		return nil, fmt.Errorf("%s, %q: %w", name, line, err)
	}
	return m.Groups, h.leave()
}

func bridgeGuests(t *T) error {
	guests := map[string][]byte{
		"a.cfg": netGuest("a", "10.0.0.1/24", "'mac=00:16:3e:00:00:01'"),
		"b.cfg": netGuest("b", "10.0.0.2/24", "'', 'bridge=xenbr0.7'"),
		"c.cfg": netGuest("c", "10.7.0.3/24", "'bridge=xenbr0,vlan=7p'"),
	}
	h, err := t.bootGuests(Boot{CPUs: 3, MemoryMiB: 1280}, []string{builder.Vmlinux, builder.Initrd}, guests)
	if err != nil {
		return err
	}
	for _, name := range strings.Fields("a b c") {
		if err := h.startNet(name); err != nil {
			return err
		}
	}
	if err := h.in([]guestLine{
		{"a", "ping -c 2 10.0.0.2", `2 packets transmitted, 2 packets received`},
		{"b", "ip link set eth1 up; ip addr add 10.7.0.2/24 dev eth1; ping -c 2 10.7.0.3", `2 packets transmitted, 2 packets received`},
		{"a", "ip addr add 10.7.0.1/24 dev eth0; ping -c 1 -W 2 10.7.0.3", `1 packets transmitted, 0 packets received`},
		listens("b", 5000, "md5sum"),
		{"a", "dd if=/dev/zero bs=1M count=8 | nc 10.0.0.2 5000; echo sent$((1+1))", `sent2`},
		{"b", "wait", `96995b58d4cbf6aaa9041b4f00c7f6ae`},
	}); err != nil {
		return err
	}
	out, err := h.mustDo("xl network-list a b c")
	if err != nil {
		return err
	}
	if !contains(out, `vif0 +0 +1 +0 +4 mac=00:16:3e:00:00:01`) || !contains(out, `vif0 +0 +2 +0 +4 mac=00:16:3e:`) {
		return fmt.Errorf("network-list: %q", out)
	}
	for _, name := range strings.Fields("a b c") {
		if _, err := h.mustDo("xl destroy %s", name); err != nil {
			return err
		}
	}
	return h.powerOff()
}

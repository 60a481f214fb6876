package regress

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"nidus/images/builder"
)

// twoGuests starts a and b, each with an interface on xenbr0; vif is what is special of a's.
func (t *T) twoGuests(vif string) (*Host, error) {
	h, err := t.bootGuests(Boot{CPUs: 3, MemoryMiB: 1024}, []string{builder.Vmlinux, builder.Initrd}, map[string][]byte{
		"a.cfg": netGuest("a", "10.0.0.1/24", "'"+vif+"'"), "b.cfg": netGuest("b", "10.0.0.2/24", "''"),
	})
	if err != nil {
		return nil, err
	}
	if err := h.startNet("a"); err != nil {
		return nil, err
	}
	return h, h.startNet("b")
}

// in types lines into guests.
func (h *Host) in(lines []guestLine) error {
	for _, l := range lines {
		if _, err := h.inGuest(l.guest, l.line, l.want, time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// guestLine is what is typed into a guest, and what it prints then.
type guestLine struct{ guest, line, want string }

// listens has a guest listen on a TCP port, and give what comes to a command. An nc that has
// nothing to read shuts its side down, and the other one ends then.
func listens(guest string, port int, command string) guestLine {
	return guestLine{guest, fmt.Sprintf("(sleep 999 | nc -l -p %d | %s) & until grep -q ':%04X ' /proc/net/tcp*; do sleep 0.1; done; echo listens$((%d))", port, command, port, port),
		fmt.Sprintf(`listens%d`, port)}
}

// netHotplug gives two guests a second interface while they send by the first one, takes it
// away again, and then takes the first one while it is busy.
func netHotplug(t *T) error {
	h, err := t.twoGuests("mac=00:16:3e:00:00:01")
	if err != nil {
		return err
	}
	if err := h.in([]guestLine{
		listens("b", 5000, "md5sum >/tmp/sum"),
		{"a", "(dd if=/dev/zero bs=64k count=96 2>/dev/null | nc 10.0.0.2 5000; echo sent >/tmp/sent) & echo sends$((1+1))", `sends2`},
	}); err != nil {
		return err
	}
	for _, line := range []string{"a mac=00:16:3e:00:01:01,bridge=lab", "b bridge=lab,mac=00:16:3e:00:01:02"} {
		if _, err := h.mustDo("xl network-attach %s", line); err != nil {
			return err
		}
	}
	up := "until ip link set eth1 up 2>/dev/null; do sleep 0.1; done; ip addr add 10.1.0.%s/24 dev eth1; "
	if err := h.in([]guestLine{
		{"a", fmt.Sprintf(up, "1") + "cat /sys/class/net/eth1/address; echo up$((1+1))", `00:16:3e:00:01:01\r?\n(?s:.*)up2`},
		{"b", fmt.Sprintf(up, "2") + "ping -c 2 10.1.0.1", `2 packets transmitted, 2 packets received`},
	}); err != nil {
		return err
	}
	for _, line := range []string{"a 1", "b 00:16:3e:00:01:02"} {
		if _, err := h.mustDo("xl network-detach %s", line); err != nil {
			return err
		}
	}
	out, err := h.mustDo("xl network-list a b")
	if err != nil {
		return err
	}
	if contains(out, `vif1`) || !contains(out, `vif0 +0 +1 +0 +4 mac=00:16:3e:00:00:01`) {
		return fmt.Errorf("network-list: %q", out)
	}
	if err := h.in([]guestLine{
		{"b", "while [ -e /sys/class/net/eth1 ]; do sleep 0.1; done; echo gone$((1+1))", `gone2`},
		{"a", "until [ -f /tmp/sent ]; do sleep 0.1; done; echo all$((1+1))", `all2`},
		{"b", "until [ -s /tmp/sum ]; do sleep 0.1; done; cat /tmp/sum", `da6a0d097e307ac52ed9b4ad551801fc`}, // of 6 MiB of zeros
		listens("b", 5001, "cat >/dev/null"),
		{"a", "(dd if=/dev/zero | nc 10.0.0.2 5001) 2>/dev/null & echo sends$((1+2))", `sends3`},
	}); err != nil {
		return err
	}
	if _, err := h.mustDo("xl network-detach b 0"); err != nil { // while it receives
		return err
	}
	if err := h.in([]guestLine{{"b", "while [ -e /sys/class/net/eth0 ]; do sleep 0.1; done; echo gone$((1+2))", `gone3`}}); err != nil {
		return err
	}
	if _, err := h.mustDo("xl network-attach b mac=00:16:3e:00:00:02"); err != nil {
		return err
	}
	if err := h.in([]guestLine{
		{"b", "until ip link set eth0 up 2>/dev/null; do sleep 0.1; done; ip addr add 10.0.0.2/24 dev eth0; ping -c 3 10.0.0.1", `3 packets transmitted, [123] packets received`},
	}); err != nil {
		return err
	}
	if _, err := h.mustDo("xl network-detach --force a 0"); err != nil { // while it sends, and isn't asked
		return err
	}
	if _, err := h.mustDo("xl network-detach b 0"); err != nil {
		return err
	}
	for _, name := range []string{"a", "b"} {
		if _, err := h.mustDo("xl destroy %s", name); err != nil {
			return err
		}
	}
	return h.powerOff()
}

// netRate has a guest send as fast as it may, and counts what another one receives.
func netRate(t *T) error {
	const rate = 250_000 // bytes per second
	// With an interval of a second the rate holds on a machine that does other things for
	// that long.
	h, err := t.twoGuests("rate=2Mb/s@1s")
	if err != nil {
		return err
	}
	if err := h.in([]guestLine{
		listens("b", 5000, "cat >/dev/null"),
		{"a", "(dd if=/dev/zero | nc 10.0.0.2 5000) & sleep 3; echo sends$((1+1))", `sends2`}, // the first second's credit is spent
	}); err != nil {
		return err
	}
	count := "echo counts $(cat /proc/uptime /sys/class/net/eth0/statistics/rx_bytes)"
	m, err := h.inGuest("b", count+"; sleep 8; "+count, `counts ([0-9.]+) [0-9.]+ ([0-9]+)\r?\ncounts ([0-9.]+) [0-9.]+ ([0-9]+)`, time.Minute)
	if err != nil {
		return err
	}
	var v [4]float64
	for i := range v {
		if v[i], err = strconv.ParseFloat(m[i+1], 64); err != nil {
			return err
		}
	}
	got := (v[3] - v[1]) / (v[2] - v[0])
	if math.Abs(got-rate) > rate*5/100 {
		return fmt.Errorf("%.0f bytes a second go through, and not %d", got, rate)
	}
	return h.powerOff()
}

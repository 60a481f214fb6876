package regress

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"time"

	"nidus/images/builder"
)

// hostNetCases show the host's own address, and what is behind it.
func hostNetCases() []Case {
	needs := []string{builder.Vmlinux, builder.Initrd}
	return []Case{
		{Name: "net-nat", What: "a guest behind the host's address has one by DHCP, resolves a name, fetches 10 MiB, and is reached by a forwarded port; the host has its time by NTP, and tells its metrics", Needs: needs, Timeout: 4 * time.Minute,
			Run: func(t *T) error { return natGuest(t, 10) }},
		{Name: "net-nat-100", What: "the same with 100 MiB", Long: true, Needs: needs, Timeout: 8 * time.Minute,
			Run: func(t *T) error { return natGuest(t, 100) }},
		rpcOverTLS(),
	}
}

// natGuest takes a guest through what the network behind the host's address offers.
func natGuest(t *T, mib int) error {
	w, card, err := t.serve()
	if err != nil {
		return err
	}
	line := fmt.Sprintf("ip=%v,dns=%v nat-forward=tcp:8080:a:80 ntp=%s metrics=9100", worldHost, worldAddress.Addr(), worldName)
	h, err := t.bootGuests(Boot{CPUs: 2, Line: line, Args: card}, []string{builder.Vmlinux, builder.Initrd},
		map[string][]byte{"a.cfg": netGuest("a", "dhcp", "'bridge=nat', ''")})
	if err != nil {
		return err
	}
	if out, err := h.mustDo("xl info addresses"); err != nil || !contains(out, worldHost.String()) {
		return fmt.Errorf("xl info addresses: %q, %v", out, err)
	}
	if err := h.Send("xl create -c a.cfg\r"); err != nil {
		return err
	}
	if _, err := h.expect(`NIDUS-GUEST-NET \S+ 10\.77\.0\.2/24`, 2*time.Minute); err != nil {
		return err
	}
	if _, err := h.expect(`guest# `, 20*time.Second); err != nil {
		return err
	}
	for _, s := range []struct{ line, want string }{
		{"nslookup " + worldName, `Name:\s+` + worldName + `\r*\n+Address(?: 1)?:\s+` + worldAddress.Addr().String()},
		{"nslookup a.internal", `Address(?: 1)?:\s+10\.77\.0\.2`},
		{"nslookup nobody.example", `NXDOMAIN|can't (?:resolve|find)`},
		{"ping -c 2 " + worldName, `2 packets transmitted, 2 packets received`},
		{fmt.Sprintf("wget -O - http://%s/%d 2>/dev/null | sha256sum", worldName, mib), worldSum(mib)},
		// Not the host's own address, nor what is behind the gateway's.
		{fmt.Sprintf("nc -w 2 %v 22 </dev/null || echo refused$((1+1))", worldHost.Addr()), `refused2`},
		{"echo nidus-$((1+1)) >/root/index.html; httpd -h /root && echo serves$((1+1))", `serves2`},
	} {
		if err := h.Send(s.line + "\r"); err != nil {
			return err
		}
		if _, err := h.expect(s.want, 5*time.Minute); err != nil {
			return fmt.Errorf("%q: %w", s.line, err)
		}
	}
	if err := w.fetches(t.ctx, 8080, "/", `nidus-2\n$`); err != nil {
		return err
	}
	if err := w.fetches(t.ctx, 9100, "/metrics", `(?m)^nidus_domain_memory_bytes\{domid="1",name="a"\} 1\.\d+e\+08$(?s:.*)^nidus_network_frames_total\{card="eth0",way="in"\} [1-9]`); err != nil {
		return err
	}
	// eth1 is on xenbr0, and so in the world's own network: its card has no offloads.
	for _, s := range []struct{ line, want string }{
		{"ip link set eth1 up; ip addr add 192.0.2.3/24 dev eth1; ping -c 2 " + worldAddress.Addr().String(), `2 packets transmitted, 2 packets received`},
		{"ping -c 2 " + worldHost.Addr().String(), `2 packets transmitted, 2 packets received`},
		{fmt.Sprintf("wget -O - http://%v/2 2>/dev/null | sha256sum", worldAddress.Addr()), worldSum(2)},
	} {
		if err := h.Send(s.line + "\r"); err != nil {
			return err
		}
		if _, err := h.expect(s.want, time.Minute); err != nil {
			return fmt.Errorf("%q: %w", s.line, err)
		}
	}
	if err := h.leave(); err != nil {
		return err
	}
	if out, err := h.mustDo("xl dmesg"); err != nil || !contains(out, `time: \S+ \S+, moved by (?:59m5\d|1h0m\d)\S*s, as `+worldName) {
		return fmt.Errorf("the host's clock was not set: %v", err)
	}
	if _, err := h.mustDo("xl destroy a"); err != nil {
		return err
	}
	return h.powerOff()
}

// fetches gets a file from a port of the host's; the answer has to match.
func (w *world) fetches(ctx context.Context, port uint16, path, want string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	c, err := w.dial(ctx, netip.AddrPortFrom(worldHost.Addr(), port))
	if err != nil {
		return fmt.Errorf("port %d: %w", port, err)
	}
	defer c.Close()
	end, _ := ctx.Deadline()
	c.SetDeadline(end)
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.0\r\n\r\n", path); err != nil {
		return err
	}
	b, err := io.ReadAll(c)
	if err != nil || !contains(string(b), want) {
		return fmt.Errorf("port %d answers %q, %v; want %q", port, b, err, want)
	}
	return nil
}

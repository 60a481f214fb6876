package regress

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"nidus/images/builder"
)

// cardGuestCases show guests behind the host's network cards that aren't virtio's.
func cardGuestCases() (all []Case) {
	for _, device := range []string{"e1000e", "e1000"} {
		all = append(all, Case{Name: "net-" + device, What: "a guest on a bridge with QEMU's " + device + " sends and receives: the card does its checksums and cuts its TCP", Long: true,
			Needs: []string{builder.Vmlinux, builder.Initrd}, Timeout: 4 * time.Minute, Run: func(t *T) error { return cardGuest(t, device) }})
	}
	return all
}

// cardGuest has a guest's 4 MiB go out, and 4 come in. The world looks at each checksum,
// and takes no frame that is longer than 1514 bytes.
func cardGuest(t *T, device string) error {
	w, card, err := t.serve()
	if err != nil {
		return err
	}
	card[len(card)-1] = device + ",netdev=n"
	guest := netip.MustParseAddrPort("192.0.2.3:80")
	h, err := t.bootGuests(Boot{CPUs: 2, Args: card}, []string{builder.Vmlinux, builder.Initrd},
		map[string][]byte{"a.cfg": netGuest("a", guest.Addr().String()+"/24", "''")})
	if err != nil {
		return err
	}
	if err := h.startNet("a"); err != nil {
		return err
	}
	const mib = 4
	for _, s := range []struct{ line, want string }{
		{fmt.Sprintf("wget -O /root/index.html http://%v/%d 2>/dev/null; sha256sum </root/index.html", worldAddress.Addr(), mib), worldSum(mib)},
		{"httpd -h /root && echo serves$((1+1))", `serves2`},
	} {
		if _, err := h.inGuest("a", s.line, s.want, time.Minute); err != nil {
			return err
		}
	}
	b, err := w.gets(t.ctx, guest)
	if err != nil {
		return err
	}
	if _, data, _ := strings.Cut(string(b), "\r\n\r\n"); fmt.Sprintf("%x", sha256.Sum256([]byte(data))) != worldSum(mib) {
		return fmt.Errorf("the guest served %d bytes, which aren't what it got", len(b))
	}
	if n := w.stack.Stats().TCP.ChecksumErrors.Value(); n != 0 { // those were sent again
		return fmt.Errorf("%d frames came with wrong checksums", n)
	}
	if _, err := h.mustDo("xl destroy a"); err != nil {
		return err
	}
	return h.powerOff()
}

// gets asks a server for its first page, and returns the whole answer.
func (w *world) gets(ctx context.Context, from netip.AddrPort) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := w.dial(ctx, from)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	end, _ := ctx.Deadline()
	c.SetDeadline(end)
	if _, err := fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return nil, err
	}
	return io.ReadAll(c)
}

package hostnet

import (
	"context"
	"fmt"
	"net"
	"time"

	"nidus/kernel/hostnet/sntp"
)

// Clock is the host's time of day.
type Clock interface {
	Now() time.Time
	// Step moves it.
	Step(by time.Duration)
}

// Times of the one who keeps the clock right.
const (
	// firstAgain is how soon servers that did not answer are asked again, longest how
	// long it is between two times at most (RFC 4330, 10: not below 15 s for long).
	firstAgain = 4 * time.Second
	longest    = 1024 * time.Second
	// notable is a step that is logged, after the first.
	notable = time.Second
	// absurd is a step that isn't made, after the first: no clock of a computer's goes
	// so wrong, and a server's, or who speaks for it, may.
	absurd = 1000 * time.Second
)

// keeper keeps a clock as servers of the network have it.
type keeper struct {
	clock Clock
	// servers are those to ask; changed is closed when there may be others.
	servers func() (all []string, changed <-chan struct{})
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	log     func(format string, args ...any)

	set  bool // it was, once
	mute bool // that no server answers was said
}

// run asks until ctx ends.
func (k *keeper) run(ctx context.Context) {
	wait := firstAgain
	for {
		all, changed := k.servers()
		var timer <-chan time.Time
		if len(all) > 0 {
			before := k.set
			k.ask(ctx, all)
			if k.set && !before {
				wait = 16 * firstAgain
			}
			timer = time.After(wait)
			wait = min(2*wait, longest)
		}
		select {
		case <-timer:
		case <-changed:
			wait = firstAgain
		case <-ctx.Done():
			return
		}
	}
}

// ask moves the clock to what that server says which answers fastest.
func (k *keeper) ask(ctx context.Context, all []string) {
	var best sntp.Answer
	var from string
	var why error
	for _, s := range all {
		ctx, cancel := context.WithTimeout(ctx, firstAgain)
		a, err := sntp.Ask(ctx, k.dial, s, k.clock.Now)
		cancel()
		if err != nil {
			why = fmt.Errorf("%s: %w", s, err)
			continue
		}
		if from == "" || a.Delay < best.Delay {
			best, from = a, s
		}
	}
	switch {
	case ctx.Err() != nil:
	case from == "":
		if !k.mute {
			k.log("time: no server says it: %v", why)
		}
		k.mute = true
	case k.set && best.Offset.Abs() > absurd:
		k.log("time: %s says that the clock is wrong by %v; it stays as it is", from, best.Offset)
	default:
		k.clock.Step(best.Offset)
		if !k.set || best.Offset.Abs() >= notable {
			k.log("time: %v, moved by %v, as %s says (stratum %d, within %v)", k.clock.Now().UTC().Format(time.DateTime), best.Offset.Round(time.Millisecond), from, best.Stratum, (best.Delay / 2).Round(time.Microsecond))
		}
		k.set, k.mute = true, false
	}
}

// timeServers are those that the command line names, or else those of DHCP.
func (n *Network) timeServers() (all []string, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c, _ := n.Config(); !c.Address.IsValid() {
		return nil, n.changed
	}
	if len(n.cfg.Options.NTP) > 0 {
		return n.cfg.Options.NTP, n.changed
	}
	for _, a := range n.ntp {
		all = append(all, a.String())
	}
	return all, n.changed
}

package regress

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"nidus/rpc/client"
	"nidus/rpc/control"
	"nidus/rpc/ring"
)

func ringFuzzCases() []Case {
	one := func(name string, long bool, attack time.Duration) Case {
		return Case{Name: name, Long: long, What: fmt.Sprintf("a hostile peer in the shared memory for %v: an honest one is answered, lies are dropped with a reason, nothing leaks", attack),
			Timeout: attack + 3*time.Minute, Run: func(t *T) error { return ringFuzz(t, attack) }}
	}
	return []Case{
		one("rpc-ring-fuzz", true, 60*time.Second),
		one("rpc-ring-fuzz-15", false, 15*time.Second),
	}
}

// Bounds of what a hostile peer may cost.
const (
	// answerLimit is how long an honest client may wait for an answer, on an emulated
	// machine that has a hostile one to serve.
	answerLimit = 5 * time.Second
	// attackedHeap is how many MiB may be missing during the attack. A connection may have
	// 8 MiB in smux's buffers (wire.Mux), there are 7 hostile ones, and a heap that is
	// collected at GOGC=100 grows to twice what is in use.
	attackedHeap = 2*7*8 + 16
	// afterAttack is how long what the hostile peer left may stay: a client that says
	// nothing is shut out after 15 s, or 10 s without a Hello.
	afterAttack = 30 * time.Second
	// keptHeap is how many KiB more of Go's heap may be in use when all is over. What is
	// not in use stays the heap's until memory gets scarce (kernel/core/create.go).
	keptHeap = 1024
)

// reasons are what the log has to say, at least once each.
var reasons = []string{
	`slot \d: ring: slot \d: client_(tail|head) is 0x[0-9a-f]+: `, // an index
	`slot \d: .*(the client broke the protocol in|ring: slot \d: hello)`,
	`slot \d: .*found the client dead`,
	`invalid protocol`,          // smux
	`protocol error`,            // drpc
	`what is no message: proto`, // protobuf
	`\d+ messages suppressed`,   // and all that in bounds
}

func ringFuzz(t *T, attack time.Duration) error {
	random, seeded, err := t.random()
	if err != nil {
		return err
	}
	r, err := t.shared(Boot{CPUs: 2, Line: "conring_size=1M"}, nil, nil)
	if err != nil {
		return err
	}
	f := &fuzzed{remote: r}
	if err := f.before(); err != nil {
		return err
	}
	defer f.honest.Close()
	h, err := newHostile(f.file, f.slot, random)
	if err != nil {
		return err
	}
	f.lies = h
	stop := h.attack()
	err = f.under(attack)
	stop()
	if err == nil {
		err = f.after()
	}
	return seeded(err)
}

// fuzzed is a host that a hostile peer attacks, and its honest client.
type fuzzed struct {
	*remote
	honest     *client.Client
	slot       int // the honest client's
	lies       *hostile
	free       uint64 // bytes, before
	goroutines int    // before
	heap       int    // KiB in use, before

	answers         int
	slowest         time.Duration
	least           uint64 // bytes that were free
	freshConnection int
}

func (f *fuzzed) before() error {
	conn, err := ring.DialFile(f.t.ctx, f.file, ring.Options{})
	if err != nil {
		return err
	}
	f.slot = conn.RemoteAddr().(ring.Addr).Slot
	if f.honest, err = client.New(f.t.ctx, conn, client.WithName("honest")); err != nil {
		return err
	}
	if f.goroutines, f.heap, err = f.inUse(); err != nil {
		return err
	}
	info, err := f.ask()
	f.free, f.least = info.FreeMemoryBytes, info.FreeMemoryBytes
	return err
}

var inUse = regexp.MustCompile(`goroutines: (\d+), heap: (\d+) KiB`)

// inUse is what debug key g says: goroutines, and the heap in use in KiB.
func (f *fuzzed) inUse() (goroutines, heap int, err error) {
	if _, err := f.must("debug-keys", "g"); err != nil {
		return 0, 0, err
	}
	log, err := f.must("dmesg")
	if err != nil {
		return 0, 0, err
	}
	all := inUse.FindAllStringSubmatch(log, -1)
	if len(all) == 0 {
		return 0, 0, fmt.Errorf("%w: debug key g printed no heap", errNotYet)
	}
	_, err = fmt.Sscan(all[len(all)-1][1]+" "+all[len(all)-1][2], &goroutines, &heap)
	return goroutines, heap, err
}

// ask makes an honest call.
func (f *fuzzed) ask() (control.HostInfo, error) {
	ctx, cancel := context.WithTimeout(f.t.ctx, answerLimit)
	defer cancel()
	begin := time.Now()
	info, err := f.honest.HostInfo(ctx)
	if err != nil {
		return info, fmt.Errorf("the honest client, after %d answers: %w", f.answers, err)
	}
	f.answers++
	f.slowest = max(f.slowest, time.Since(begin))
	f.least = min(f.least, info.FreeMemoryBytes)
	return info, nil
}

// under asks while the attack goes on: on the connection that was there before every
// half second, on a new one every five seconds.
func (f *fuzzed) under(attack time.Duration) error {
	for i, end := 1, time.Now().Add(attack); time.Now().Before(end); i++ {
		time.Sleep(500 * time.Millisecond) // lets the attack go on
		info, err := f.ask()
		if err != nil {
			return err
		}
		if missing := int(f.free-min(f.free, info.FreeMemoryBytes)) >> 20; missing > attackedHeap {
			return fmt.Errorf("the attack has taken %d MiB, more than %d", missing, attackedHeap)
		}
		if i%10 != 0 {
			continue
		}
		// Clients of one region are not protected from each other: what writes anywhere
		// pauses until the new one is gone, what sends bytes on connections doesn't.
		f.lies.words.Lock()
		_, err = f.must("list")
		f.lies.words.Unlock()
		if err != nil {
			return err
		}
		f.freshConnection++
	}
	fmt.Fprintf(f.t.Say, "%v: the honest client had %d answers, the slowest after %v, and %d on new connections; at most %d MiB were taken\n",
		f.lies, f.answers, f.slowest.Round(time.Millisecond), f.freshConnection, int(f.free-f.least)>>20)
	return nil
}

// after sees that nothing is left of the attack, and what the log says of it.
func (f *fuzzed) after() error {
	if err := f.lies.happened(); err != nil {
		return err
	}
	if _, err := f.ask(); err != nil {
		return err
	}
	for end := time.Now().Add(afterAttack); ; time.Sleep(time.Second) {
		goroutines, heap, err := f.inUse()
		if err != nil {
			return err
		}
		if goroutines <= f.goroutines+2 && heap <= f.heap+keptHeap {
			fmt.Fprintf(f.t.Say, "goroutines: %d before, %d after; heap in use: %d KiB before, %d after\n", f.goroutines, goroutines, f.heap, heap)
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("%v after the attack there are %d goroutines, %d before it, and %d KiB of heap in use, %d before it",
				afterAttack, goroutines, f.goroutines, heap, f.heap)
		}
	}
	log, err := f.must("dmesg")
	if err != nil {
		return err
	}
	for _, re := range reasons {
		if !regexp.MustCompile(`shared memory: .*` + re).MatchString(log) {
			return fmt.Errorf("the log has no %q", re)
		}
	}
	// 5 a second and 20 at once may pass (kernel/remote.go), and what was suppressed is
	// told each time.
	uptime := f.Since().Seconds()
	if n := strings.Count(log, "shared memory: "); float64(n) > 2*(5*uptime+20) {
		return fmt.Errorf("%d lines of the log in %.0f s are about clients' lies", n, uptime)
	}
	if err := f.honest.Close(); err != nil {
		return err
	}
	if err := f.allSlots(); err != nil {
		return err
	}
	return f.powerOff()
}

// mapShared maps a file of shared memory.
func mapShared(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, ShareSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	return b, errors.Join(err, f.Close())
}

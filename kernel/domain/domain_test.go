package domain_test

import (
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"nidus/kernel/domain"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/pvclock"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// loop is a vcpu's loop without a personality: it counts the entries into the
// guest, and blocks when there is nothing to do.
func loop(entered *atomic.Int64) func(*domain.VCPU) {
	return func(v *domain.VCPU) {
		for v.Ready() {
			v.TakeSignals()
			for !v.MustStop() {
				v.Clear()
				if v.MustStop() {
					break
				}
				v.Timers()
				v.UpdateTime(false)
				entered.Add(1)
				v.Block(0)
			}
		}
	}
}

// await waits for what another goroutine is about to do.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestLife(t *testing.T) {
	m := domaintest.New(t, 1024)
	d := m.Domain(t, domaintest.Options{VCPUs: 3})
	var n atomic.Int64
	d.VCPUs[0].SetUp(true)
	d.VCPUs[1].SetUp(true)
	if d.State() != domain.Building {
		t.Error("not building")
	}
	d.Start(true, loop(&n))
	m.Threads.AwaitWaiting(3)
	if n.Load() != 0 || !d.Paused() {
		t.Error("a paused domain ran")
	}
	d.Unpause()
	await(t, "two vcpus run", func() bool { return n.Load() >= 2 && d.VCPUs[0].Blocked() && d.VCPUs[1].Blocked() })
	d.Pause()
	at := n.Load()
	d.VCPUs[0].Notify()
	m.Threads.AwaitWaiting(3)
	if n.Load() != at {
		t.Error("a paused domain went on")
	}
	d.Unpause()
	await(t, "it goes on", func() bool { return n.Load() > at })
	at = n.Load()
	d.NotifyVCPU(0, true) // it waits: a device's event does not
	await(t, "it goes on for a device", func() bool { return n.Load() > at })
	d.VCPUs[2].SetUp(true)
	await(t, "the third vcpu runs", func() bool { return d.VCPUs[2].Blocked() })
	d.Shutdown(xenabi.ShutdownReboot)
	d.Shutdown(xenabi.ShutdownCrash)
	<-d.Done()
	if d.State() != domain.Ended || d.Reason() != xenabi.ShutdownReboot {
		t.Errorf("state %d, reason %d", d.State(), d.Reason())
	}
	if d.Space.TotPages() != 256 {
		t.Error("the memory went with the shutdown")
	}
	for range 2 {
		if err := d.Destroy(); err != nil {
			t.Fatal(err)
		}
	}
	m.CheckFree(t)
}

// Each state that a domain can be destroyed in leaves nothing behind.
func TestDestroyLeaksNothing(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T, *domaintest.Machine, *domain.Domain){
		"never started": func(*testing.T, *domaintest.Machine, *domain.Domain) {},
		"paused": func(_ *testing.T, _ *domaintest.Machine, d *domain.Domain) {
			d.Start(true, loop(new(atomic.Int64)))
		},
		"running": func(_ *testing.T, _ *domaintest.Machine, d *domain.Domain) {
			d.VCPUs[0].SetUp(true)
			d.Start(false, loop(new(atomic.Int64)))
		},
		"crashed": func(_ *testing.T, _ *domaintest.Machine, d *domain.Domain) {
			d.Start(false, loop(new(atomic.Int64)))
			d.Crash(d.VCPUs[0], "test")
		},
		"with rings and areas": func(t *testing.T, _ *domaintest.Machine, d *domain.Domain) {
			if _, _, err := d.Connect(20, 21); err != nil {
				t.Fatal(err)
			}
			for _, err := range []error{
				d.VCPUs[0].SetRunstateArea(22<<12|0xff0, 23), d.VCPUs[0].SetTimeArea(24 << 12), d.VCPUs[1].OrderTimeArea(24 << 12),
				d.Events.RegisterVCPUInfo(0, 25, 0), d.Space.AddSpecial(26, d.SharedInfo()),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			for i := range uint64(4) {
				f, err := d.Grants.FrameForIndex(i)
				if err != nil {
					t.Fatal(err)
				}
				if err := d.Space.AddSpecial(mm.GFN(0x1000+i), f); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := d.Watchdog(0, 1000); err != nil {
				t.Fatal(err)
			}
			d.VCPUs[1].SetBoot(new(virt.State))
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := domaintest.New(t, 1024)
			for range 3 { // the same number again
				d := m.Domain(t, domaintest.Options{})
				prepare(t, m, d)
				if err := d.Destroy(); err != nil {
					t.Fatal(err)
				}
				m.CheckFree(t)
			}
		})
	}
}

// timed runs f as the guest of a domain's first vcpu, on its goroutine.
func timed(t *testing.T, f func(m *domaintest.Machine, v *domain.VCPU)) {
	t.Helper()
	m := domaintest.New(t, 1024)
	d := m.Domain(t, domaintest.Options{})
	done := make(chan struct{})
	d.VCPUs[0].SetUp(true)
	d.Start(false, func(v *domain.VCPU) {
		if !v.Ready() {
			return
		}
		if v.ID == 0 {
			f(m, v)
			close(done)
		}
		for v.Ready() {
			v.Clear()
			v.Block(0)
		}
	})
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the vcpu hangs")
	}
	if err := d.Destroy(); err != nil {
		t.Fatal(err)
	}
	m.CheckFree(t)
}

func TestTimers(t *testing.T) {
	timed(t, func(m *domaintest.Machine, v *domain.VCPU) {
		d := v.Domain
		port, err := d.Events.BindVIRQ(xenabi.VIRQTimer, 0)
		if err != nil {
			t.Error(err)
			return
		}
		now := m.Clock.Now()
		fired := func() bool {
			v.Timers()
			p, err := d.Events.AnyPending([]uint32{port})
			if err != nil {
				t.Error(err)
			}
			if p { // take it, as a guest does
				pg := m.Host.Memory.Page(d.SharedInfo())
				pg.And64(2048, ^uint64(1<<port))
				pg.Store64(8, 0)
				pg.Store8(0, 0)
			}
			return p
		}
		armed := func() int64 { return m.Threads.DeadlineOf(v.HV.KickWord()) }
		v.SetSingleshot(now + 1000)
		if fired() || armed() != now+1000 {
			t.Errorf("armed %d", armed()-now)
		}
		m.Clock.Advance(999)
		if fired() {
			t.Error("too early")
		}
		m.Clock.Advance(1)
		if !fired() || armed() != 0 {
			t.Errorf("not fired, armed %d", armed())
		}
		if fired() {
			t.Error("fired twice")
		}
		const p = domain.MinPeriod
		start := m.Clock.Now()
		v.SetPeriodic(p)
		for i := int64(1); i < 5; i++ {
			if fired() || armed() != start+i*p {
				t.Errorf("period %d: armed %d", i, armed()-start)
			}
			m.Clock.Advance(p)
			if !fired() {
				t.Errorf("period %d: not fired", i)
			}
		}
		m.Clock.Advance(1000*p + p/2) // missed ones are one
		if !fired() || fired() {
			t.Error("after a long time: not one")
		}
		if next := armed(); next <= m.Clock.Now() || (next-start)%p != 0 {
			t.Errorf("out of step by %d", (next-start)%p)
		}
		v.SetPeriodic(0)
		if m.Clock.Advance(10 * p); fired() || armed() != 0 {
			t.Error("it was stopped")
		}
	})
}

func TestBlockEndsWithTimer(t *testing.T) {
	timed(t, func(m *domaintest.Machine, v *domain.VCPU) {
		at := m.Clock.Now() + 5000
		v.SetSingleshot(at)
		go func() {
			m.Threads.AwaitWaiting(2) // both vcpus
			m.Clock.Advance(5000)
		}()
		v.Clear()
		v.Block(0)
		if m.Clock.Now() < at {
			t.Error("woke too early")
		}
	})
}

func TestRunstateAccounting(t *testing.T) {
	timed(t, func(m *domaintest.Machine, v *domain.VCPU) {
		get := func() (state uint32, time [4]int64) {
			b := v.Runstate(xenabi.Guest64)
			for i := range time {
				time[i] = int64(binary.LittleEndian.Uint64(b[16+8*i:]))
			}
			return binary.LittleEndian.Uint32(b), time
		}
		const at = mm.GuestPhys(30<<12 | 0xfe8) // over the end of its page
		if err := v.SetRunstateArea(at, 31); err != nil {
			t.Error(err)
		}
		_, t0 := get()
		m.Threads.Ran(700)   // on a CPU
		m.Clock.Advance(300) // waiting for one
		go func() {
			m.Threads.AwaitWaiting(2)
			m.Clock.Advance(5000)
			v.Notify()
		}()
		v.Clear()
		v.Block(0)
		state, t1 := get()
		for i, want := range [4]int64{xenabi.RunstateRunning: 700, xenabi.RunstateRunnable: 300, xenabi.RunstateBlocked: 5000, xenabi.RunstateOffline: 0} {
			if got := t1[i] - t0[i]; got != want {
				t.Errorf("state %d: %d ns, want %d", i, got, want)
			}
		}
		if state != xenabi.RunstateRunning {
			t.Errorf("state %d", state)
		}
		b := make([]byte, 48)
		if err := v.Domain.Space.ReadPhys(at, b); err != nil {
			t.Error(err)
		}
		if got := int64(binary.LittleEndian.Uint64(b[16+8*xenabi.RunstateBlocked:])); got != t1[xenabi.RunstateBlocked] {
			t.Errorf("the guest reads %d ns blocked", got)
		}
		if e := binary.LittleEndian.Uint64(b[8:]); e>>63 != 0 {
			t.Errorf("entry time %#x has the update flag", e)
		}
	})
}

func TestOrders(t *testing.T) {
	timed(t, func(m *domaintest.Machine, v *domain.VCPU) {
		if v.MustStop() {
			t.Error("nothing was ordered")
		}
		v.OrderPeriodic(domain.MinPeriod)
		v.OrderUpcallVector(0xf0)
		if err := v.OrderTimeArea(40 << 12); err != nil {
			t.Error(err)
		}
		if err := v.OrderTimeArea(0x99999 << 12); err != xenabi.EFAULT {
			t.Error(err)
		}
		if err := v.OrderTimeArea(40<<12 + 1); err != xenabi.EINVAL {
			t.Error(err)
		}
		if !v.MustStop() || v.UpcallVector != 0 {
			t.Error("an order must be seen, and wait for Ready")
		}
		v.Ready()
		v.Timers()
		if v.MustStop() || v.UpcallVector != 0xf0 || m.Threads.DeadlineOf(v.HV.KickWord()) == 0 {
			t.Error("the orders were not carried out")
		}
		var version [4]byte
		if err := v.Domain.Space.ReadPhys(40<<12, version[:]); err != nil || version == [4]byte{} {
			t.Errorf("time area: %v %v", version, err)
		}
		v.SetPeriodic(0)
	})
}

func TestWatchdog(t *testing.T) {
	m := domaintest.New(t, 1024)
	d := m.Domain(t, domaintest.Options{})
	for _, x := range []struct {
		id, seconds, want uint32
		err               error
	}{
		{0, 0, 0, xenabi.EINVAL}, {1, 5, 0, xenabi.EINVAL}, {3, 5, 0, xenabi.EINVAL},
		{0, 1000, 1, nil}, {0, 1000, 2, nil}, {0, 1000, 0, xenabi.ENOSPC},
		{2, 0, 0, nil}, {2, 0, 0, xenabi.EINVAL}, {1, 1, 0, nil},
	} {
		id, err := d.Watchdog(x.id, x.seconds)
		if id != x.want || err != x.err {
			t.Errorf("watchdog %d, %d s: %d, %v", x.id, x.seconds, id, err)
		}
	}
	select {
	case <-d.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("nobody barked")
	}
	if d.Reason() != xenabi.ShutdownWatchdog {
		t.Errorf("reason %d", d.Reason())
	}
	if err := d.Destroy(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Watchdog(0, 10); err != xenabi.EINVAL {
		t.Errorf("a watchdog of a destroyed domain: %v", err)
	}
}

func TestLatch(t *testing.T) {
	m := domaintest.New(t, 1024)
	d := m.Domain(t, domaintest.Options{})
	pg := m.Host.Memory.Page(d.SharedInfo())
	const boot = 1_600_000_000
	if sec := pg.Load32(3076); sec != boot {
		t.Errorf("wall clock %d", sec)
	}
	if err := d.LatchWidth(xenabi.Guest32); err != nil || d.Events.Width() != xenabi.Guest32 {
		t.Fatal(err)
	}
	if sec := pg.Load32(2308); sec != boot {
		t.Errorf("wall clock %d for 32 bits", sec)
	}
	if err := d.LatchWidth(3); err != xenabi.EINVAL {
		t.Errorf("width 3: %v", err)
	}
	if !d.LatchReason(xenabi.ShutdownReboot) || d.LatchReason(xenabi.ShutdownCrash) {
		t.Error("not the first reason")
	}
	d.Shutdown(xenabi.ShutdownPoweroff)
	if d.Reason() != xenabi.ShutdownReboot {
		t.Errorf("reason %d", d.Reason())
	}
}

// A guest that starts right after the host has a clock too.
func TestTimeFromTheStart(t *testing.T) {
	m := domaintest.New(t, 1024)
	m.Clock.Advance(1e6 - m.Clock.Now())
	d := m.Domain(t, domaintest.Options{VCPUs: 1})
	defer d.Destroy()
	d.VCPUs[0].UpdateTime(false)
	page, off, ok := d.Events.VCPUInfo(0)
	if !ok {
		t.Fatal("no vcpu_info")
	}
	if mul := page.Load32(off + pvclock.VCPUInfoTime + 24); mul == 0 { // tsc_to_system_mul
		t.Error("vcpu_time_info was not written")
	}
}

// A guest that refills its console ring as fast as it is drained costs no more than
// the passes that there are: it does not keep its backend busy, nor the domain alive.
func TestConsoleFlood(t *testing.T) {
	m := domaintest.New(t, 1024)
	d := m.Domain(t, domaintest.Options{})
	port, _, err := d.Connect(20, 21)
	if err != nil {
		t.Fatal(err)
	}
	const outCons, outProd = 3080, 3084 // console.h
	ring, err := d.Space.Pin(20)
	if err != nil {
		t.Fatal(err)
	}
	stop, flooded := make(chan struct{}), make(chan struct{})
	go func() { // full at all times
		defer close(flooded)
		for {
			select {
			case <-stop:
				return
			default:
			}
			ring.Store32(outProd, ring.Load32(outCons)+2048)
			if err := d.Events.Send(port); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	// Not more than the burst while no time passes, and then again.
	const burst = 200 * 2048
	settled := func() (last uint64) {
		for range 40 {
			time.Sleep(50 * time.Millisecond)
			n, _ := d.Console.Written()
			if n == last && n != 0 {
				break
			}
			last = n
		}
		return last
	}
	first := settled()
	if first > burst {
		t.Errorf("%d bytes without any time, want at most %d", first, burst)
	}
	m.Clock.Advance(int64(time.Second))
	if n := settled(); n == first || n > first+burst {
		t.Errorf("%d bytes, and %d a second later", first, n)
	}
	close(stop)
	<-flooded
	d.Space.Unpin(20)
	if err := d.Destroy(); err != nil {
		t.Fatal(err)
	}
	m.CheckFree(t)
}

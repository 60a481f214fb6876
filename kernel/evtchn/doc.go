// Package evtchn keeps the event channels of all domains: ports, what they are
// bound to, and the delivery of events into the pages that a guest shares with
// the hypervisor, by the 2-level and the FIFO ABI.
//
// The interface is Xen's event_channel.h, xen.h (shared_info, vcpu_info) and
// sched.h (SCHEDOP_poll). The package is pure: it writes pages, and calls a
// Notifier when a vcpu has something to look at.
//
// # Locks
//
// Domain.mu (who has which port, registrations), then port locks (two of them
// in the order of domain, then port), then FIFO queue locks (in the order of
// vcpu, then priority). Hub.mu is innermost. Sending takes the lock of its own
// port, lets it go and takes the peer's, so it never waits for a domain. No lock
// is held while a Notifier or a local callback runs: either may come once more
// just after its port was closed. Code without a goroutine tries for the locks of ports and queues only, and waits
// for none (Quick).
//
// # Errors
//
// Operations return an xenabi.Errno, or an error that wraps one.
package evtchn

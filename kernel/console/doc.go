// Package console moves characters between guests, the hypervisor's log and
// the person at the serial line. It is pure logic: [Ring] is the shared page
// of a guest's PV console, [History] keeps what a guest wrote and hands it to
// readers, [Emergency] takes what a guest writes by hypercall, [Log] is the
// hypervisor's own log (xl dmesg), [Mux] says who gets what is typed.
//
// Nothing here ever makes a guest wait for a reader.
//
// Specifications: xen/include/public/io/console.h (libxen-dev), Xen's
// docs/misc/xen-command-line.pandoc (conswitch, loglvl, guest_loglvl).
package console

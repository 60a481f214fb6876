// Package xenstore is the xenstore server: the tree of small strings through
// which the toolstack, the backends and the guests of a host find each other.
//
// It has two doors. [Conn] is for code of the host, which acts as domain 0.
// [Ring] serves a guest over the shared page that the guest was started with.
// All state is plain data ([Store.Snapshot], [Restore]), because it outlives
// the control plane.
//
// The tree is persistent: a change copies the path from the root to the node
// and leaves everything else shared, so a transaction starts in constant time
// with the root that was current. A transaction keeps a log of what it did and
// what it was told; its end runs that log on the tree of that moment, and only
// if every step gives the same answer does the result become the tree.
// Anything else is EAGAIN. So a transaction that commits is one that could have
// run at a single moment, and transactions that touch different things never
// disturb each other.
//
// Specifications: xen/include/public/io/xs_wire.h (libxen-dev), Xen's
// docs/misc/xenstore.txt, xenstore-ring.txt and xenstore-paths.pandoc.
package xenstore

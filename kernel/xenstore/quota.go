package xenstore

// Quota bounds what one unprivileged domain can hold in the store. Domain 0 is
// bound only by the protocol.
type Quota struct {
	Nodes        int // nodes owned
	NodeSize     int // bytes of one value
	Depth        int // names in the path of a node it makes: every change copies that many nodes
	Perms        int // permission entries of one node
	Watches      int
	Transactions int // open at once
	TxOps        int // requests in one transaction
	TxBytes      int // bytes that one transaction's log may hold
	Outstanding  int // replies and events the domain has not read; then its requests wait
	EventBytes   int // bytes of unread messages, above which further watch events are lost
}

// DefaultQuota holds the limits that Xen's own server has by default, where it
// has them.
var DefaultQuota = Quota{
	Nodes:        1000,
	NodeSize:     2048,
	Depth:        64,
	Perms:        5,
	Watches:      128,
	Transactions: 10,
	TxOps:        1024,
	TxBytes:      256 << 10,
	Outstanding:  20,
	EventBytes:   32 << 10,
}

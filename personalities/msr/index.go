package msr

// MSR numbers (SDM vol. 4 table 2-2; APM vol. 2 appendix A).
const (
	idxP5Addr        = 0x0
	idxP5Type        = 0x1
	idxTSC           = 0x10
	idxPlatformID    = 0x17
	idxAPICBase      = 0x1b
	idxFeatureCtl    = 0x3a
	idxTSCAdjust     = 0x3b
	idxUcodeWrite    = 0x79
	idxUcodeRev      = 0x8b // AMD: PATCH_LEVEL
	idxMTRRCap       = 0xfe
	idxSysenterCS    = 0x174
	idxSysenterESP   = 0x175
	idxSysenterEIP   = 0x176
	idxMCGCap        = 0x179
	idxMCGStatus     = 0x17a
	idxMiscEnable    = 0x1a0
	idxDebugCtl      = 0x1d9
	idxLastBranchTo  = 0x1dc // LBR from 0x1db, exceptions to 0x1de
	idxMTRRVariable  = 0x200
	idxMTRRFix64K    = 0x250
	idxMTRRFix16K    = 0x258
	idxMTRRFix4K     = 0x268
	idxPAT           = 0x277
	idxMTRRDef       = 0x2ff
	idxTSCDeadline   = 0x6e0
	idxX2First       = 0x800
	idxX2Last        = 0x8ff
	idxHypercall     = 0x40000000
	idxEFER          = 0xc0000080
	idxSTAR          = 0xc0000081
	idxLSTAR         = 0xc0000082
	idxCSTAR         = 0xc0000083
	idxSFMASK        = 0xc0000084
	idxFSBase        = 0xc0000100
	idxGSBase        = 0xc0000101
	idxKernelGSBase  = 0xc0000102
	idxTSCAux        = 0xc0000103
	idxAMDPerfCtl    = 0xc0010000 // PERF_CTL0-3, then PERF_CTR0-3
	idxAMDSyscfg     = 0xc0010010
	idxAMDHwcr       = 0xc0010015
	idxAMDTopMem     = 0xc001001a
	idxAMDTopMem2    = 0xc001001d
	idxAMDNBCfg      = 0xc001001f
	idxAMDPatch      = 0xc0010020
	idxAMDIntPending = 0xc0010055
	idxAMDPState     = 0xc0010061 // limit, control, status: 0x61-0x63
	idxAMDMMIOCfg    = 0xc0010058
	idxAMDVMCR       = 0xc0010114
	idxAMDOSVWLen    = 0xc0010140
	idxAMDOSVWStat   = 0xc0010141
	idxAMDLSCfg      = 0xc0011020
	idxAMDICCfg      = 0xc0011021
	idxAMDDCCfg      = 0xc0011022
	idxAMDFPCfg      = 0xc0011028
	idxAMDDECfg      = 0xc0011029
	idxAMDBUCfg2     = 0xc001102a
)

// EFER bits.
const (
	eferSCE   = 1 << 0
	eferLME   = 1 << 8
	eferLMA   = 1 << 10
	eferNXE   = 1 << 11
	eferFFXSR = 1 << 14
	cr0PG     = 1 << 31
)

const (
	// mtrrCap: VCNT, fixed ranges, write-combining; no SMRR.
	mtrrCap      = numVariable | 1<<8 | 1<<10
	miscFast     = 1             // fast strings
	miscNoPEBS   = 1<<11 | 1<<12 // no branch trace, no PEBS: read-only
	miscWritable = miscFast      // bit 18, MONITOR, is never there
	lfenceSerial = 1 << 1        // DE_CFG: LFENCE is serialising
	nbCfg        = 1 << 46       // EnableCf8ExtCfg: Xen shows it, drivers then leave it alone
	vmcrSVMDis   = 1 << 4        // VM_CR: SVM disabled
	vmcrLock     = 1 << 3
	hwcrWritable = 1<<3 | 1<<6 | 1<<8 | 1<<18 // TLB cache, FFDIS, IGNNE, McStatusWrEn
	hwcrTscFreq  = 1 << 24                    // the TSC runs at P0's rate: read-only
	syscfgBits   = 0x7c0000                   // MTRR extensions
)

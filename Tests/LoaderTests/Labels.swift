// The labels of `CLoaderTestCode`'s code.

import CLoaderTestCode

/// Addresses in code.S.
enum Label {
  static var textStart: UnsafeRawPointer { lt_text_start_address! }
  static var textEnd: UnsafeRawPointer { lt_text_end_address! }
  static var entry: UnsafeRawPointer { lt_entry_address! }
  static var exit: UnsafeRawPointer { lt_exit_address! }
  static var add: UnsafeRawPointer { lt_add_address! }
  static var unreachable: UnsafeRawPointer { lt_unreachable_address! }
  static var clobber: UnsafeRawPointer { lt_clobber_address! }
  static var load: UnsafeRawPointer { lt_load_address! }
  static var spin: UnsafeRawPointer { lt_spin_address! }
  static var spinSite: UnsafeRawPointer { lt_spin_site_address! }
  static var loadUnlisted: UnsafeRawPointer { lt_load_unlisted_address! }
  static var divide: UnsafeRawPointer { lt_divide_address! }
  static var recurse: UnsafeRawPointer { lt_recurse_address! }
  static var callHost: UnsafeRawPointer { lt_call_host_address! }
  static var damage: UnsafeRawPointer { lt_damage_address! }
  static var unreachableSite: UnsafeRawPointer { lt_unreachable_site_address! }
  static var clobberSite: UnsafeRawPointer { lt_clobber_site_address! }
  static var loadSite: UnsafeRawPointer { lt_load_site_address! }
  static var divideSite: UnsafeRawPointer { lt_divide_site_address! }
  static var recurseOverflowSite: UnsafeRawPointer { lt_recurse_overflow_site_address! }
  static var damageSite: UnsafeRawPointer { lt_damage_site_address! }
  static var recurseReturn: UnsafeRawPointer { lt_recurse_return_address! }
  static var recurseLastReturn: UnsafeRawPointer { lt_recurse_last_return_address! }
  static var callHostReturn: UnsafeRawPointer { lt_call_host_return_address! }
}

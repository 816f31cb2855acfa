#include "precast_host.h"

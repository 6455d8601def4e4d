//! The services of AWS that the agent calls.

/// An AWS service with hosts of its own. One service may be reachable while another one is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// AWS IoT Greengrass V2.
    Greengrass,
    /// AWS IoT SiteWise.
    SiteWise,
    /// AWS IoT SiteWise Monitor. A VPC endpoint of SiteWise does not serve its operations.
    SiteWiseMonitor,
}

/// The properties that distinguish a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// The key of its endpoint in the section `cloud` of the configuration.
    pub endpoint: &'static str,
    /// The service whose endpoint counts where that key is not set.
    pub endpoint_of: Option<Service>,
    /// Appended to the codes of problems that concern the service as a whole.
    pub suffix: &'static str,
    /// The key that switches its operations on; `None` if they always are.
    pub switch: Option<&'static Switch>,
}

/// A key of the configuration that switches operations on.
#[derive(Debug, PartialEq, Eq)]
pub struct Switch {
    /// The section of the key.
    pub section: &'static str,
    /// The key within its section.
    pub key: &'static str,
    /// The code of the problem that entries wait although it is off.
    pub problem: &'static str,
    /// What the entries are about.
    pub things: &'static str,
}

static SITE_WISE: Switch = Switch { section: "siteWise", key: "enabled", problem: "SITEWISE_OFF", things: "assets" };

impl Switch {
    /// All switches.
    pub const ALL: &[&Self] = &[&SITE_WISE];

    /// The whole key.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// Why an operation is not accepted.
    #[must_use]
    pub fn rejection(&self, operation: &str) -> String {
        format!("{operation} is off on this core; set {} to true in its configuration", self.name())
    }

    /// The problem of entries that an earlier configuration accepted.
    #[must_use]
    pub fn waiting(&self, entries: u64) -> String {
        let (things, name) = (self.things, self.name());
        format!("{entries} entries on {things} wait for {name}; set it to true, or cancel their requests")
    }
}

impl Service {
    /// All services.
    pub const ALL: &[Self] = &[Self::Greengrass, Self::SiteWise, Self::SiteWiseMonitor];

    /// The properties of this service.
    #[must_use]
    pub const fn hosts(self) -> Hosts {
        match self {
            Self::Greengrass => Hosts { endpoint: "greengrassEndpoint", endpoint_of: None, suffix: "", switch: None },
            Self::SiteWise => {
                Hosts { endpoint: "siteWiseEndpoint", endpoint_of: None, suffix: "_SITEWISE", switch: Some(&SITE_WISE) }
            }
            Self::SiteWiseMonitor => Hosts {
                endpoint: "siteWiseMonitorEndpoint",
                endpoint_of: Some(Self::SiteWise),
                suffix: "_SITEWISE",
                switch: Some(&SITE_WISE),
            },
        }
    }

    /// Whether this service has the list of associated devices.
    #[must_use]
    pub fn is_of_the_list(self) -> bool {
        self == Self::Greengrass
    }
}
